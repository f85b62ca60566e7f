"""The FastAPI application."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Response
from fastapi.responses import PlainTextResponse

from labelcast.errors import LabelcastError
from labelcast_server.access.authorize import Action, Kind
from labelcast_server.access.tokens import Tokens
from labelcast_server.admin import routes_label_sets, routes_uploads
from labelcast_server.admin.access import requires
from labelcast_server.admin.errors import handle_errors
from labelcast_server.admin.schemas import ErrorBody, Health
from labelcast_server.registry.services import RegistryServices
from labelcast_server.telemetry.exposition import exposition

_DESCRIPTION = """\
Publishes label sets: push blobs, record the manifest that names them, point a tag to it.

Routes that read take the read token, or none where the service has no read token; all others take
the admin token. Every error has the same shape: a stable `reason`, a one-line message, and facts.
"""

logger = logging.getLogger("labelcast_server.admin")


def create_app(
    services: RegistryServices, tokens: Tokens, *, ping: Callable[[], Awaitable[None]]
) -> FastAPI:
    """Build the admin API.

    Args:
        services: do the work.
        tokens: tell who asks for it.
        ping: returns if the store answers, else raises.
    """
    app = FastAPI(
        title="labelcast admin API",
        version="1",
        description=_DESCRIPTION,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
        responses={"default": {"model": ErrorBody, "description": "What went wrong"}},
    )
    app.state.services = services
    app.state.tokens = tokens
    handle_errors(app)
    for router in (
        routes_uploads.blob_routes,
        routes_uploads.upload_routes,
        routes_label_sets.router,
    ):
        app.include_router(router)

    @app.get(
        "/health",
        tags=["health"],
        summary="Can the service reach its store?",
        responses={503: {"model": Health}},
    )
    async def health(response: Response) -> Health:
        """Needs no token, and reveals no address."""
        try:
            await ping()
        except LabelcastError as error:
            logger.debug("unhealthy: %s", error)
            response.status_code = 503
            return Health(status="unavailable")
        return Health(status="ok")

    @app.get(
        "/metrics",
        tags=["health"],
        summary="Metrics of all processes, for Prometheus",
        response_class=PlainTextResponse,
        dependencies=requires(Action.INSPECT, Kind.METRICS),
    )
    async def metrics() -> Response:
        """Labels, bytes, seconds and what failed, since the service started."""
        text, content_type = await asyncio.to_thread(exposition)
        return Response(text, media_type=content_type)

    return app
