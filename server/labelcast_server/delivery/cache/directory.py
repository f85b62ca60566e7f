"""The directory of the cache: files that stay, shared by workers and by services.

A file is named by the digest of what it holds, and outlives the service. Rules:
  * its name is no reason to trust it: whoever opens it checks what it holds. One that is not this
    user's, not of its size or of another content is removed, and made anew;
  * files are found, made and removed under a lock that all processes share, so that nobody sees
    half of a new one. The kernel drops it with the process that holds it;
  * no file is ever shortened, nor lengthened once it was cut: whoever has mapped one that is
    removed reads on what it was.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from labelcast_server.delivery.cache.bounds import Bounds, no_room
from labelcast_server.delivery.cache.counts import CacheCounts

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_USUAL = Bounds()

Opened = TypeVar("Opened")

logger = logging.getLogger(__name__)


class CacheDirectory:
    """The cache's files, as one process sees them.

    Args:
        path: directory that only this user may write.
        bounds: how much the files may take.

    Attributes:
        path: directory of the files.
        bounds: see above.
        counts: what happened to them, and to what they hold.
    """

    def __init__(self, path: Path, bounds: Bounds = _USUAL) -> None:
        self.path = path
        self.bounds = bounds
        self.counts = CacheCounts()

    def open(
        self,
        name: str,
        size: int,
        opened: Callable[[int], Opened | None],
        new: tuple[bytes | memoryview, int] | None,
    ) -> Opened | None:
        """Find a file, or make it.

        Args:
            name: of the file, after the digest of what it holds.
            size: bytes that it must have.
            opened: checks what a descriptor leads to, and takes it over; None if it is something
                else: that file is removed.
            new: content of a file to be made, and the offset of that; all else is 0. None makes no
                file.

        Returns:
            What `opened` made of it; None if there is no such file and none is made.

        Raises:
            StoreFullError: there is no room for it.
            OSError: the directory cannot be used.
        """
        path = self.path / name
        with self._locked():
            found = self._find(path, size, opened)
            if found is not None or new is None:
                return found
            return self._make(path, size, opened, *new)

    async def tend(self, *look: Callable[[], None]) -> None:
        """Have those who use files look at them three times a generation, until cancelled."""
        while True:
            await asyncio.sleep(self.bounds.generation_seconds / 3)
            for each in look:
                await asyncio.to_thread(each)

    def _find(self, path: Path, size: int, opened: Callable[[int], Opened | None]) -> Opened | None:
        try:
            descriptor = os.open(path, _FLAGS | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            # A symbolic link is removed, wherever it leads.
            if error.errno != errno.ELOOP:
                raise
        else:
            with _closed_unless(descriptor) as taken:
                if _is_ours(descriptor, size) and (found := opened(descriptor)) is not None:
                    taken()
                    self.counts.saw("found_files")
                    return found
        logger.warning("the cache file %s was cut, or is not what its name says", path.name)
        self.counts.saw("dropped_files")
        path.unlink()
        return None

    def _make(
        self,
        path: Path,
        size: int,
        opened: Callable[[int], Opened | None],
        content: bytes | memoryview,
        at: int,
    ) -> Opened:
        if evicted := self.bounds.make_room(self.path, size):
            self.counts.saw("evicted_files", evicted)
        with room_needed(size, self.path):
            descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
            with _closed_unless(descriptor) as taken:
                try:
                    # In full, since a full disk must be an error here and now.
                    os.posix_fallocate(descriptor, 0, size)
                    write(descriptor, content, at)
                    if (made := opened(descriptor)) is None:
                        raise OSError(errno.EIO, "it reads otherwise than it was written", path)
                except BaseException:
                    path.unlink()
                    raise
                taken()
                return made

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.path / "lock", _FLAGS | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def write(descriptor: int, content: bytes | memoryview, at: int) -> None:
    """Write all of `content` at an offset."""
    view = memoryview(content).cast("B")
    while view:
        count = os.pwrite(descriptor, view, at)
        view, at = view[count:], at + count


@contextlib.contextmanager
def room_needed(size: int, directory: Path) -> Iterator[None]:
    """Turn the system's word for a full disk into ours.

    Raises:
        StoreFullError: the disk of `directory` has no room for a file of `size` bytes.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise no_room(size, directory) from None


@contextlib.contextmanager
def _closed_unless(descriptor: int) -> Iterator[Callable[[], object]]:
    """Close a descriptor at the end, unless somebody has taken it over: call what is given then."""
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        yield stack.pop_all


def _is_ours(descriptor: int, size: int) -> bool:
    found = os.fstat(descriptor)
    return (
        stat.S_ISREG(found.st_mode)
        and found.st_uid == os.geteuid()
        and found.st_nlink == 1
        and found.st_size == size
    )
