"""A shared limit on bytes held in memory."""

import asyncio
from collections import deque


class ByteBudget:
    """Bounds the bytes held in memory; callers wait until there is room.

    First come, first served. A request larger than the whole budget is admitted when nothing else
    is held, so that it is slow rather than impossible. Everything happens in one event loop.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def held(self) -> int:
        """Bytes held now."""
        return self._held

    @property
    def idle(self) -> bool:
        """Whether nothing is held and nobody waits."""
        return self._held == 0 and not self._waiting

    async def take(self, size: int) -> None:
        """Hold `size` bytes once there is room; release them with `give`."""
        if self.try_take(size):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (size, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(size)
            elif entry in self._waiting:
                self._waiting.remove(entry)
                self._admit()
            raise

    def try_take(self, size: int) -> bool:
        """Hold `size` bytes if there is room right now; returns whether there was."""
        if self._waiting or not self._fits(size):
            return False
        self._held += size
        return True

    def give(self, size: int) -> None:
        """Release bytes taken before."""
        self._held -= size
        self._admit()

    def resize(self, limit: int) -> None:
        """Bound the bytes anew; what is held already stays."""
        self._limit = limit
        self._admit()

    def _fits(self, size: int) -> bool:
        return self._held == 0 or self._held + size <= self._limit

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if not turn.done():
                self._held += size
                turn.set_result(None)
