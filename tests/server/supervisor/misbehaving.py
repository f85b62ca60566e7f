"""Main coroutines of processes that misbehave."""

import asyncio
import contextlib
import time

from labelcast_server.supervisor.plan import ProcessPlan
from labelcast_server.supervisor.pulse import Ready


async def beats_once(plan: ProcessPlan, stop: asyncio.Event, ready: Ready) -> None:
    """Say that it is ready, then block the event loop for good."""
    ready.set()
    await asyncio.sleep(0.1)
    time.sleep(3600)  # noqa: ASYNC251 - a hang is what is wanted


async def ends_at_once(plan: ProcessPlan, stop: asyncio.Event, ready: Ready) -> None:
    """Do nothing."""


async def leaves_a_task_that_never_ends(
    plan: ProcessPlan, stop: asyncio.Event, ready: Ready
) -> None:
    """End, but for a task that drops every cancellation."""

    async def never_ends() -> None:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)

    ready.set()
    _left.append(asyncio.create_task(never_ends()))
    await asyncio.sleep(0.1)


_left: list["asyncio.Task[None]"] = []
