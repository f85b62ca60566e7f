"""Runs an opening over any source of blobs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from labelcast.label_set import BlobRef
from labelcast.opening.parts_from_blobs import Opening

T = TypeVar("T")


def run(opening: Opening[T], read: Callable[[BlobRef], bytes]) -> T:
    """Run an opening.

    Args:
        opening: generator from `parts_from_blobs`.
        read: gives the verified content of a blob.
    """
    step = _Steps(opening)
    content: bytes | None = None
    while (wanted := step(content)) is not None:
        content = read(wanted)
    return step.result()


async def run_async(opening: Opening[T], read: Callable[[BlobRef], Awaitable[bytes]]) -> T:
    """Run an opening without blocking the event loop: parts are made from blobs in a thread."""
    step = _Steps(opening)
    content: bytes | None = None
    while (wanted := await asyncio.to_thread(step, content)) is not None:
        content = await read(wanted)
    return step.result()


class _Steps(Generic[T]):
    """An opening that reports its end by a value: no coroutine may raise StopIteration."""

    def __init__(self, opening: Opening[T]) -> None:
        self._opening = opening
        self._result: list[T] = []

    def __call__(self, content: bytes | None) -> BlobRef | None:
        try:
            return next(self._opening) if content is None else self._opening.send(content)
        except StopIteration as end:
            self._result.append(end.value)
            return None

    def result(self) -> T:
        return self._result[0]
