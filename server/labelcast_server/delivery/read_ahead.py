"""Units of one stream, prepared in the background while earlier ones are being sent."""

import asyncio
import time
from collections import deque

from labelcast_server.delivery.block import Block
from labelcast_server.delivery.pace import Pace
from labelcast_server.delivery.unit import AskedRows, Prepare, Unit
from labelcast_server.delivery.unsent_room import Room, UnsentRoom
from labelcast_server.telemetry.metrics import STALL_SECONDS

# The one being sent, the one being decoded, and one that waits so that the decoder never does.
_UNITS = 3


class ReadAhead:
    """A line of units: one task puts in what is asked for, another takes out blocks, in order.

    Rules:
      * at most three units are being prepared or sent, and each holds its bytes of the shared room;
      * who has nothing in line waits for room; who has something waits until that is sent;
      * a block that is not sent in time stalls the stream: whatever is prepared is given up, and is
        prepared again, little at first, once the stream moves on;
      * units are begun in order, so that none holds room that an earlier one waits for;
      * an error comes out where its unit would have come.

    Args:
        prepare: makes the blocks of a unit.
        pace: sizes of the units.
        room: memory for prepared but unsent replies, shared by all streams of a worker.
    """

    def __init__(self, prepare: Prepare, pace: Pace, room: UnsentRoom) -> None:
        self._prepare = prepare
        self._pace = pace
        self._room = room
        # The first is the one that is awaited or being sent.
        self._line: deque[Unit] = deque()
        self._ended = False
        self._error: Exception | None = None
        self._moved = asyncio.Condition()
        self._stall: asyncio.TimerHandle | None = None

    async def put(self, asked: AskedRows) -> None:
        """Put the units of a request in line, each once there is a place for it.

        Raises:
            OverloadedError: there is no room.
        """
        await self._hold(self._room.proven, asked.num_bytes)
        try:
            start = 0
            while start < len(asked):
                async with self._moved:
                    await self._moved.wait_for(lambda: len(self._line) < _UNITS and self._moves)
                stop = min(start + min(self._pace.rows, asked.most_rows), len(asked))
                unit, room = Unit(asked, start, stop, self._pace.row_bytes), self._pace.room
                await self._hold(room, unit.num_bytes)
                unit.begin(room.budget, self._prepare, self._pace.message_rows)
                self._line.append(unit)
                start = stop
                await self._tell()
        finally:
            self._room.proven.budget.give(asked.num_bytes)

    async def end(self, error: Exception | None) -> None:
        """Nothing more follows, because of an error or because this was all."""
        self._ended, self._error = True, error
        await self._tell()

    async def has_next(self) -> bool:
        """Wait for the next block; the one that was taken before it counts as sent.

        Raises:
            Whatever `end` was told, after the last block.
            OverloadedError: there is no room for what had been given up.
        """
        if self._stall is not None:
            self._stall.cancel()
        if self._line and not self._line[0].has_more:
            unit = self._line.popleft()
            if unit.is_begun:
                self._pace.sent(len(unit))
            unit.give_up()
            await self._tell()
        async with self._moved:
            await self._moved.wait_for(lambda: self._line or self._ended)
        if self._line:
            if not self._line[0].is_begun:
                await self._begin_again()
            return True
        if self._error is not None:
            raise self._error
        return False

    async def take(self) -> Block:
        """Take the next block; only if there is one.

        Raises:
            Whatever preparing its unit raised.
        """
        began = time.perf_counter()
        block = await self._line[0].take()
        STALL_SECONDS.inc(time.perf_counter() - began)
        self._stall = asyncio.get_running_loop().call_later(
            self._pace.patience_seconds, self._give_up
        )
        return block

    def close(self) -> None:
        """Forget what is still in line."""
        if self._stall is not None:
            self._stall.cancel()
        self._give_up()
        self._line.clear()
        self._pace.close()

    @property
    def _moves(self) -> bool:
        """Whether nothing in line was given up."""
        return not self._line or self._line[-1].is_begun

    async def _hold(self, room: Room, size: int) -> None:
        async with self._moved:
            while self._line:
                if self._moves and room.budget.try_take(size):
                    return
                await self._moved.wait()
        await room.take(size)

    async def _begin_again(self) -> None:
        unit, room = self._line[0], self._pace.room
        rest = unit.split(self._pace.rows)
        if rest is not None:
            self._line.insert(1, rest)
        await room.take(unit.num_bytes)
        unit.begin(room.budget, self._prepare, self._pace.message_rows)
        await self._tell()

    def _give_up(self) -> None:
        for unit in self._line:
            unit.give_up()
        self._pace.stalled()

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()
