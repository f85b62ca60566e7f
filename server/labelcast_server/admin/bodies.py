"""Request bodies: raw, streamed, limited in size, and read only after the token was checked.

FastAPI would read a declared JSON body whole before any dependency runs, token check included, so
JSON bodies are read here too.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from labelcast.errors import InvalidRequestError

MAX_JSON_BYTES = 64 * 1024

_NUMBER = r"(0|[1-9][0-9]{0,14})"
_CONTENT_RANGE = re.compile(rf"bytes {_NUMBER}-{_NUMBER}/{_NUMBER}", re.ASCII)

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which bytes of a blob a body holds.

    Attributes:
        first: offset of the first byte.
        last: offset of the last byte.
        total: size of the whole blob in bytes.
    """

    first: int
    last: int
    total: int

    @property
    def count(self) -> int:
        """Number of bytes announced."""
        return self.last - self.first + 1

    @classmethod
    def parse(cls, text: str | None) -> "ContentRange":
        """Parse the header strictly.

        Raises:
            InvalidRequestError: the header is missing, malformed or impossible.
        """
        found = _CONTENT_RANGE.fullmatch(text or "")
        if found is None:
            raise InvalidRequestError(
                'send "Content-Range: bytes FIRST-LAST/TOTAL" with plain decimal numbers'
            )
        first, last, total = (int(number) for number in found.groups())
        if not first <= last < total:
            raise InvalidRequestError(
                f"Content-Range {first}-{last}/{total} is impossible: FIRST <= LAST < TOTAL"
            )
        return cls(first, last, total)


class RangeBody:
    """The body of a ranged request, piece by piece, never whole.

    A connection that breaks off ends the body early instead of raising, so that the reader can
    keep what arrived; `broke_off` and `received` tell afterwards.

    Args:
        request: a request whose body has not been read.
        announced: the range in its Content-Range header.

    Raises:
        InvalidRequestError: Content-Length contradicts the range, or the body is encoded.
    """

    def __init__(self, request: Request, announced: ContentRange) -> None:
        require_raw(request, "application/octet-stream")
        length = request.headers.get("content-length")
        if length is not None and int(length) != announced.count:
            raise InvalidRequestError(
                f"Content-Length is {length}, Content-Range announces {announced.count} bytes"
            )
        self._request = request
        self._announced = announced
        self.received = 0
        self.broke_off = False

    @property
    def is_short(self) -> bool:
        """Whether fewer bytes arrived than announced."""
        return self.received < self._announced.count

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes.

        Raises:
            InvalidRequestError: more bytes arrived than announced.
        """
        try:
            async for piece in self._request.stream():
                self.received += len(piece)
                if self.received > self._announced.count:
                    raise InvalidRequestError(
                        f"more bytes came than the {self._announced.count} announced"
                    )
                yield piece
        except ClientDisconnect:
            self.broke_off = True


def require_raw(request: Request, media_type: str) -> None:
    """Refuse forms and encoded bodies: bytes are counted as they arrive.

    Raises:
        InvalidRequestError: another Content-Type, or any Content-Encoding.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type or "content-encoding" in request.headers:
        raise InvalidRequestError(f"send the body as it is, with Content-Type: {media_type}")


async def read_limited(request: Request, max_bytes: int) -> bytes:
    """Read a small body whole.

    Raises:
        InvalidRequestError: more than `max_bytes` arrived; nothing beyond them is kept.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > max_bytes:
            raise InvalidRequestError(f"the body is too large; at most {max_bytes} bytes are read")
    return bytes(body)


def json_body(model: type[_Model]) -> Callable[[Request], Awaitable[_Model]]:
    """Dependency that parses a JSON body strictly."""

    async def read(request: Request) -> _Model:
        require_raw(request, "application/json")
        try:
            return model.model_validate_json(await read_limited(request, MAX_JSON_BYTES))
        except ValidationError as error:
            problems = [
                f"{'.'.join(['body', *map(str, found['loc'])])}: {found['msg']}"
                for found in error.errors(include_url=False, include_input=False)
            ]
            raise InvalidRequestError("; ".join(problems)) from None

    return read


def described_body(media_type: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    """`openapi_extra` with the schema of a body that FastAPI does not read."""
    content = {media_type: {"schema": schema}}
    return {"requestBody": {"required": True, "description": description, "content": content}}
