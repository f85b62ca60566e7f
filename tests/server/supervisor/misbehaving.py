"""Main coroutines of processes that misbehave."""

import asyncio
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
