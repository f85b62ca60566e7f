"""A process's sign of life, which its supervisor reads without asking it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from multiprocessing.context import BaseContext

BEAT_SECONDS = 0.5

Check = Callable[[], Awaitable[None]]


class Pulse:
    """When a process last showed that it works, in memory that both share.

    It has no lock: a killed process would keep the lock, and the supervisor would wait forever.

    Args:
        context: context that starts the process.
    """

    def __init__(self, context: BaseContext) -> None:
        self._at = context.RawValue("d", 0.0)

    def beat(self) -> None:
        """Record the current time."""
        self._at.value = time.monotonic()

    @property
    def last(self) -> float:
        """Monotonic time of the last beat; 0 before the process is ready."""
        return float(self._at.value)


class Ready:
    """How the main coroutine of a process reports that it serves; from then on its pulse beats.

    Args:
        pulse: pulse shared with the supervisor.
        announce: called once, after the first beat.
    """

    def __init__(self, pulse: Pulse, announce: Callable[[], None] | None = None) -> None:
        self._pulse = pulse
        self._announce = announce
        self._set = asyncio.Event()
        self._check: Check | None = None

    def set(self, check: Check | None = None) -> None:
        """Start to beat.

        Args:
            check: must succeed before each beat; None only shows that the event loop runs.
        """
        self._check = check
        self._set.set()

    async def beat_on(self) -> None:
        """Beat once ready, until cancelled; an exception from the check ends it."""
        await self._set.wait()
        while True:
            if self._check is not None:
                await self._check()
            self._pulse.beat()
            if self._announce is not None:
                self._announce()
                self._announce = None
            await asyncio.sleep(BEAT_SECONDS)
