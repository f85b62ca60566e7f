"""Memory for replies that are prepared and not yet sent."""

import asyncio
from dataclasses import dataclass

from labelcast.errors import OverloadedError
from labelcast_server.byte_budget import ByteBudget

# Time to wait for room to prepare a reply; a request that waits longer is told to retry.
_ROOM_SECONDS = 10.0
# For all streams together that may have no reader: enough for eight of full speed, and so little
# for a thousand that their connections cost far more.
_UNPROVEN_BYTES = 3 * 2**23
_LEAST_UNPROVEN_BYTES = 2**15
_FULL_SPEED_STREAMS = 8


@dataclass(frozen=True, slots=True)
class Room:
    """A part of it.

    Attributes:
        budget: bounds its bytes, and takes them back.
        is_patient: whether whoever wants room waits however long it takes.
    """

    budget: ByteBudget
    is_patient: bool = False

    async def take(self, size: int) -> None:
        """Hold `size` bytes once there is room.

        Raises:
            OverloadedError: there was none for ten seconds.
        """
        if self.budget.try_take(size):
            return
        try:
            async with asyncio.timeout(None if self.is_patient else _ROOM_SECONDS):
                await self.budget.take(size)
        except TimeoutError:
            raise OverloadedError(
                "the service has no room for more unread replies; retry in a moment, or read faster"
            ) from None


class UnsentRoom:
    """The memory of one worker, shared by all its streams and calls.

    Streams that may have no reader, see `Pace`, have a part for themselves, which gets smaller the
    more they are. Nobody stays there: what is not sent within a moment is given up. So they wait in
    turn, and leave the rest to those that are read.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._most = min(_UNPROVEN_BYTES, limit // 2)
        self._unproven_streams = 0
        self.proven = Room(ByteBudget(limit - self._most))
        self.unproven = Room(ByteBudget(self._most), is_patient=True)

    @property
    def idle(self) -> bool:
        """Whether nothing is held and nobody waits."""
        return self.proven.budget.idle and self.unproven.budget.idle

    def share(self, num_bytes: int) -> int:
        """What each unproven stream gets of so many bytes."""
        return num_bytes // max(1, self._unproven_streams)

    def enter(self) -> None:
        """One more stream may have no reader."""
        self._count(1)

    def leave(self) -> None:
        """A stream that entered ended, or is being read."""
        self._count(-1)

    def _count(self, more: int) -> None:
        self._unproven_streams += more
        # By the square: in a crowd the other clients' calls must not wait for the work of many.
        crowd = max(1.0, self._unproven_streams / _FULL_SPEED_STREAMS)
        fair = int(_UNPROVEN_BYTES / crowd**2)
        self.unproven.budget.resize(min(self._most, max(_LEAST_UNPROVEN_BYTES, fair)))
