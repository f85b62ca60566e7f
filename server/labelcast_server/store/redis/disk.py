"""Keeps the embedded Redis's append-only file from filling its disk.

By itself Redis would rewrite the file whenever it has doubled, however little room is left, and a
rewrite that fills the disk ends Redis. So automatic rewrites are off (`auto-aof-rewrite-percentage
0`), and this module asks for one
  * only when nothing has been written for a while, so that no push meets a disk that a rewrite is
    filling at the same time;
  * only if the disk can hold a second copy of all data and still keep the reserve. The copy is
    estimated at the memory in use, or at the present file if that is smaller; both are more than a
    rewritten file takes;
  * when the file has doubled since the last rewrite, which makes loading faster, or when much of
    it is garbage and room is short.
While a rewrite runs, everything is written twice.
"""

import contextlib
import time
from collections.abc import AsyncIterator

from labelcast_server.store.blob_store import Capacity
from labelcast_server.store.disk import Disk
from labelcast_server.store.redis.health import Info, capacity_from

# What a command and its bookkeeping add to the file besides the chunks.
_COMMAND_BYTES = 256 * 1024
_FREEING_BYTES = 2 * 2**20
_QUIET_SECONDS = 10.0
_LEAST_REWRITE_BYTES = 256 * 2**20
_LEAST_GARBAGE_BYTES = 4 * 2**20


class RedisDisk:
    """Guards the writes of one process.

    Args:
        disk: disk of the append-only file; None lets every write pass, since nothing is known about
            the disk of a Redis elsewhere.
    """

    def __init__(self, disk: Disk | None) -> None:
        self.disk = disk
        self._in_flight_bytes = 0
        self._last_write = -_QUIET_SECONDS
        self._rewriting = False

    @contextlib.asynccontextmanager
    async def write(self, content_bytes: int = 0) -> AsyncIterator[None]:
        """Refuse a write that the disk has no room for; count it while it lasts.

        Args:
            content_bytes: size of the chunks to be written.

        Raises:
            StoreFullError: there is no room for them above the reserve.
        """
        count = (content_bytes + _COMMAND_BYTES) * (2 if self._rewriting else 1)
        if self.disk is not None:
            self.disk.require_room(self._in_flight_bytes + count)
        # Concurrent writes must not count the same free space twice.
        self._in_flight_bytes += count
        try:
            yield
        finally:
            self._in_flight_bytes -= count
            self._last_write = time.monotonic()

    def require_room_to_free(self) -> None:
        """Refuse what frees memory only if the disk is truly full: it writes very little.

        Raises:
            StoreFullError: there is no room even for that.
        """
        if self.disk is not None:
            free, least = self.disk.free_bytes(), min(_FREEING_BYTES, self.disk.reserve_bytes)
            if free < least:
                raise self.disk.full(least, free)

    def capacity(self, info: Info) -> Capacity:
        """Room left: the smaller of memory and disk."""
        memory = capacity_from(info)
        if self.disk is None:
            return memory
        self._rewriting = is_rewriting(info)
        room = self.disk.room_bytes() - self._in_flight_bytes
        if self._rewriting:
            room = (room - copy_bytes(info)) // 2
        room = max(0, room)
        if memory.headroom_bytes is not None and memory.headroom_bytes <= room:
            return memory
        return Capacity(memory.used_bytes, room, "disk")

    def wants_rewrite(self, info: Info) -> bool:
        """Whether to rewrite the append-only file now."""
        self._rewriting = is_rewriting(info)
        quiet = time.monotonic() - self._last_write >= _QUIET_SECONDS
        if self.disk is None or self._rewriting or self._in_flight_bytes or not quiet:
            return False
        room, copy, size = self.disk.room_bytes(), copy_bytes(info), _file_bytes(info)
        grown = size >= max(_LEAST_REWRITE_BYTES, 2 * int(info.get("aof_base_size", 0)))
        garbage = size - copy
        wasteful = room < size and garbage >= max(_LEAST_GARBAGE_BYTES, copy // 4)
        return (grown or wasteful) and copy <= room


def is_rewriting(info: Info) -> bool:
    """Whether Redis is rewriting its append-only file, or about to."""
    return bool(info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled"))


def copy_bytes(info: Info) -> int:
    """Most bytes that a rewritten file takes."""
    return min(_file_bytes(info), int(info.get("used_memory", 0)))


def _file_bytes(info: Info) -> int:
    return int(info.get("aof_current_size", 0))
