"""Tasks beside the main one, which end with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

_AGAIN_SECONDS = 1.0


@contextlib.asynccontextmanager
async def background(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines as tasks for as long as the block lasts."""
    tasks = [asyncio.create_task(each) for each in coroutines]
    try:
        yield
    finally:
        await end(*tasks)


async def end(*tasks: "asyncio.Task[Any]") -> None:
    """Cancel tasks until they have ended, whatever comes of them.

    Once is not enough: `asyncio.wait_for` of Python 3.11, which redis-py sends with, drops a
    cancellation that comes in the moment in which it has its result.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_SECONDS)
