"""Every error becomes one JSON shape: reason, message, facts."""

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labelcast.errors import (
    InvalidRequestError,
    LabelcastError,
    NotFoundError,
    UnauthenticatedError,
)
from labelcast_server.error_catalog import publicise, status_of

# Answers to HEAD have no body: this header carries their reason.
REASON_HEADER = "Labelcast-Reason"

logger = logging.getLogger("labelcast_server.admin")


def error_response(
    error: LabelcastError, *, status: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The response for one of our errors."""
    extra = {REASON_HEADER: error.reason, **(headers or {})}
    if isinstance(error, UnauthenticatedError):
        extra["WWW-Authenticate"] = "Bearer"
    body = {"reason": error.reason, "message": error.message, "facts": error.facts}
    return JSONResponse(body, status_of(error).http if status is None else status, extra)


class UnforeseenErrors:
    """Answers a foreign exception with "internal error" and an ID, and logs its cause.

    A middleware, because Starlette raises such exceptions again after its own handler, and the
    server would log them a second time.

    Args:
        app: application to wrap.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched_send)
        except Exception as error:
            public = publicise(error)
            if started:
                raise
            await error_response(public)(scope, receive, send)


def handle_errors(app: FastAPI) -> None:
    """Make an application answer every error in this shape."""
    app.add_exception_handler(LabelcastError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_middleware(UnforeseenErrors)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, LabelcastError)  # noqa: S101 - what it was registered for
    return error_response(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it was registered for
    problems = [
        f"{'.'.join(str(step) for step in found['loc'])}: {found['msg']}"
        for found in error.errors()
    ]
    return error_response(InvalidRequestError("; ".join(problems)))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it was registered for
    told: LabelcastError
    if error.status_code == 404:
        told = NotFoundError("there is no such resource; /docs lists all resources")
    elif error.status_code == 405:
        told = InvalidRequestError("this resource has no such method; /docs lists its methods")
    else:
        told = InvalidRequestError(f"the request was refused: {error.detail}")
    return error_response(told, status=error.status_code, headers=error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    logger.debug("the client went away during %s", request.method)
    return Response(status_code=499)
