"""Units of one stream, prepared in the background while earlier ones are being sent."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Generic, TypeVar

from labelcast.errors import OverloadedError
from labelcast_server.byte_budget import ByteBudget
from labelcast_server.telemetry.metrics import STALL_SECONDS

Unit = TypeVar("Unit")

# The one being sent, the one being decoded, and one that waits so that the decoder never does.
_UNITS = 3
# Time to wait for room to prepare a reply; a request that waits longer is told to retry.
_ROOM_SECONDS = 10.0


async def take_room(room: ByteBudget, size: int) -> None:
    """Hold `size` bytes of room.

    Raises:
        OverloadedError: there was none for ten seconds.
    """
    try:
        async with asyncio.timeout(_ROOM_SECONDS):
            await room.take(size)
    except TimeoutError:
        raise OverloadedError(
            "the service has no room for more unread replies; retry in a moment, or read faster"
        ) from None


class ReadAhead(Generic[Unit]):
    """A line of units: one task puts them in, another takes them out in the same order.

    Rules:
      * at most three units are being prepared or sent, and each holds its bytes of the shared room;
      * who has nothing in line waits for room, and for ten seconds at most; who has something waits
        until that is sent, however slowly its client reads;
      * an error comes out where its unit would have come.

    Args:
        room: memory for prepared but unsent replies, shared by all streams of a worker.
    """

    def __init__(self, room: ByteBudget) -> None:
        self._room = room
        # The first is the one that is awaited or being sent.
        self._line: deque[tuple[asyncio.Task[Unit], int]] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._moved = asyncio.Condition()

    async def hold(self, size: int) -> None:
        """Hold room for something that is no unit; the caller gives it back.

        Raises:
            OverloadedError: there is none.
        """
        async with self._moved:
            while self._line:
                if self._room.try_take(size):
                    return
                await self._moved.wait()
        await take_room(self._room, size)

    async def put(self, prepare: Coroutine[Any, Any, Unit], size: int) -> None:
        """Begin to prepare the next unit once there is a place for it.

        Args:
            prepare: makes the unit.
            size: bytes of the unit.

        Raises:
            OverloadedError: there is no room.
        """
        try:
            async with self._moved:
                await self._moved.wait_for(lambda: len(self._line) < _UNITS)
            await self.hold(size)
        except BaseException:
            prepare.close()
            raise
        self._line.append((asyncio.ensure_future(prepare), size))
        await self._tell()

    async def end(self, error: Exception | None) -> None:
        """Nothing more follows, because of an error or because this was all."""
        self._ended, self._error = True, error
        await self._tell()

    async def units(self) -> AsyncIterator[Unit]:
        """Every unit in order; a unit counts as sent when the next one is asked for.

        Raises:
            Whatever preparing a unit raised, and then what `end` was told.
        """
        while True:
            async with self._moved:
                await self._moved.wait_for(lambda: self._line or self._ended)
            if not self._line:
                break
            began = time.perf_counter()
            unit = await self._line[0][0]
            STALL_SECONDS.inc(time.perf_counter() - began)
            yield unit
            _, size = self._line.popleft()
            self._room.give(size)
            await self._tell()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Forget what is still in line."""
        while self._line:
            task, size = self._line.popleft()
            task.cancel()
            # If it failed too, the error of the unit before it is the one to report.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._room.give(size)

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()
