"""How much room the cache takes, over all processes that share it, and which files go first.

A file's modification time is its mark: when some process last used it, to within a third of a
generation. Marks are kept by the file system, so they are common to all processes and outlive them.

Whole files go, those with the oldest marks first, and none with a mark of the current generation.
Shuffled reading touches every shard of a label set all the time: were the least recently used one
to go for the next, each would go just before it is needed, and every row would cost a chunk from
the store and a write. So what is in use stays, and what finds no room is read from the store.
"""

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labelcast.errors import StoreFullError
from labelcast_server.store.disk import Disk

_NAME = re.compile(r"sha256-[0-9a-f]{64}(\.table)?")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a cache may take of its disk.

    Attributes:
        limit_bytes: bytes of all its files; None is half of what its disk would have free without
            them.
        disk: the store's; its reserve is left alone if the files lie on it too.
        generation_seconds: time for which a file counts as in use.
    """

    limit_bytes: int | None = None
    disk: Disk | None = None
    generation_seconds: float = 60.0

    def make_room(self, directory: Path, size: int) -> int:
        """Remove files until there is room for another; call it under the directory's lock.

        Args:
            directory: of the cache.
            size: bytes of the file to be made.

        Returns:
            How many files were removed.

        Raises:
            StoreFullError: there is no room without what is in use; nothing was removed then.
        """
        files = sorted(_files(directory), reverse=True)
        used, free = sum(file.size for file in files), _free_bytes(directory)
        limit = (free + used) // 2 if self.limit_bytes is None else self.limit_bytes
        lacking = size - min(limit - used, free - self._kept_free(directory))
        leaving = []
        for file in files:
            if lacking <= 0 or file.age < self.generation_seconds:
                break
            leaving.append(file)
            lacking -= file.size
        if lacking > 0:
            raise no_room(size, directory)
        for file in leaving:
            file.path.unlink()
        return len(leaving)

    def _kept_free(self, directory: Path) -> int:
        # Twice the reserve: what comes back from the store by itself must not stop pushes.
        if self.disk is None or not self.disk.holds(directory):
            return 0
        return 2 * self.disk.reserve_bytes


@dataclass(frozen=True, slots=True, order=True)
class _File:
    """A file of the cache; sorted by the age of its mark in seconds."""

    age: float
    size: int
    path: Path


def _files(directory: Path) -> Iterator[_File]:
    now = time.time()
    with os.scandir(directory) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                found = entry.stat(follow_symlinks=False)
                # A clock that was set back must not keep a file for ever.
                yield _File(abs(now - found.st_mtime), found.st_size, Path(entry.path))


def _free_bytes(directory: Path) -> int:
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def no_room(size: int, directory: Path) -> StoreFullError:
    """The error when the cache cannot take another file."""
    return StoreFullError(
        f"no room for {size} bytes of cache in {directory} beside what is in use; free some, raise"
        " LABELCAST_CACHE_MIB, or set LABELCAST_CACHE_DIR to a larger disk"
    )
