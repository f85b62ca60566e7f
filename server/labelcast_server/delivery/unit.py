"""Rows of a stream that are prepared at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from labelcast.views import Views
from labelcast_server.byte_budget import ByteBudget
from labelcast_server.delivery.block import Block


class AskedRows(Protocol):
    """What a request asks for, which may be far more than fits memory."""

    num_bytes: int
    """Memory that it takes unexpanded."""
    most_rows: int
    """Rows to expand at once."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> Views: ...


Prepare: TypeAlias = Callable[[AskedRows, int, int, int], Coroutine[Any, Any, list[Block]]]
"""Makes the blocks of a request's rows from one to before another, of at most so many rows each."""


class Unit:
    """Rows, and their blocks while it is begun; it holds room for them just as long.

    Args:
        asked: request whose labels are to be sent.
        start: number of the unit's first row in it.
        stop: number of the row after its last one.
        row_bytes: bytes of a delivered row.
    """

    def __init__(self, asked: AskedRows, start: int, stop: int, row_bytes: int) -> None:
        self._asked = asked
        self._start = start
        self._stop = stop
        self._row_bytes = row_bytes
        self._taken = 0
        self._held: ByteBudget | None = None
        self._preparing: asyncio.Task[list[Block]] | None = None
        self._blocks = deque[Block]()

    def __len__(self) -> int:
        return self._stop - self._start

    @property
    def num_bytes(self) -> int:
        """Bytes of the labels."""
        return len(self) * self._row_bytes

    @property
    def is_begun(self) -> bool:
        """Whether it is being prepared, or is prepared."""
        return self._held is not None

    @property
    def has_more(self) -> bool:
        """Whether it has rows that were not taken."""
        return self._taken < len(self)

    def begin(self, held: ByteBudget, prepare: Prepare, message_rows: int) -> None:
        """Prepare it in the background.

        Args:
            held: where room for its bytes has been taken; gets it back.
            prepare: makes its blocks.
            message_rows: most rows of a block.
        """
        self._held = held
        self._preparing = asyncio.ensure_future(
            prepare(self._asked, self._start, self._stop, message_rows)
        )

    async def take(self) -> Block:
        """Take the next block once it is prepared; only from one that is begun and has more.

        Raises:
            Whatever preparing it raised.
        """
        if self._preparing is not None:
            self._blocks = deque(await self._preparing)
            self._preparing = None
        block = self._blocks.popleft()
        self._taken += block.count
        return block

    def give_up(self) -> None:
        """Forget the blocks that were not taken, and give their room back."""
        if self._held is None:
            return
        if self._preparing is not None:
            self._preparing.cancel()
            # If it failed too, the error of the unit before it is the one to report.
            self._preparing.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._preparing = None
        self._blocks.clear()
        self._held.give(self.num_bytes)
        self._held = None
        self._start += self._taken
        self._taken = 0

    def split(self, rows: int) -> "Unit | None":
        """Keep as many rows, and return the others if there are any; only before it is begun."""
        if len(self) <= rows:
            return None
        rest = Unit(self._asked, self._start + rows, self._stop, self._row_bytes)
        self._stop = self._start + rows
        return rest
