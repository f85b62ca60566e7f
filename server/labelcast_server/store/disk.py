"""The disk that the embedded Redis writes to: its free space, and how much is kept free.

With appendfsync always Redis ends at the first write that fails, and readers lose their store. So
the disk must never be full when Redis writes:
  * every write asks first, and is refused if it would leave less than the reserve;
  * a reserve file takes up space beforehand. If Redis dies of a full disk all the same (other
    programs write to it too), it gets that space, so that it can restart; the file is recreated
    once there is room.

Limits that statvfs does not report, such as quotas, are not seen here.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from labelcast.errors import StoreFullError

_MOST_RESERVE_BYTES = 64 * 2**20
_LEAST_SHARE = 16
_RESERVE_NAME = "reserve"


@dataclass(frozen=True, slots=True)
class Disk:
    """A directory on a disk, and how much of the disk stays free.

    Attributes:
        path: directory that exists when the disk is checked.
        reserve_bytes: space kept free; writes are refused rather than going below.
    """

    path: Path
    reserve_bytes: int

    @classmethod
    def of(cls, path: Path, reserve_bytes: int | None = None) -> "Disk":
        """Make a disk with the usual reserve: 64 MiB, or a sixteenth of a small disk.

        Args:
            path: an existing directory.
            reserve_bytes: reserve to use instead.
        """
        if reserve_bytes is None:
            stat = os.statvfs(path)
            reserve_bytes = min(_MOST_RESERVE_BYTES, stat.f_blocks * stat.f_frsize // _LEAST_SHARE)
        return cls(path, reserve_bytes)

    def free_bytes(self) -> int:
        """Bytes that an unprivileged process may still write."""
        stat = os.statvfs(self.path)
        return stat.f_bavail * stat.f_frsize

    def room_bytes(self) -> int:
        """Bytes that may be written before the reserve is touched."""
        return max(0, self.free_bytes() - self.reserve_bytes)

    def holds(self, path: Path) -> bool:
        """Whether another existing path lies on the same disk."""
        return path.stat().st_dev == self.path.stat().st_dev

    def require_room(self, count: int) -> None:
        """Refuse a write that would leave less than the reserve.

        Args:
            count: bytes to be written.

        Raises:
            StoreFullError: there is no room for them.
        """
        free = self.free_bytes()
        if free - count < self.reserve_bytes:
            raise self.full(count, free)

    def full(self, count: int, free: int) -> StoreFullError:
        """The error when there is no room for `count` bytes."""
        return StoreFullError(
            f"the disk of the data directory is full: {free} bytes are free in {self.path},"
            f" {count} are to be written and {self.reserve_bytes} are kept back; free disk space"
            " and try again (label sets are served meanwhile)",
            required_bytes=count,
            free_bytes=free,
            reserve_bytes=self.reserve_bytes,
        )

    # The reserve file

    @property
    def reserve_path(self) -> Path:
        """The reserve file."""
        return self.path / _RESERVE_NAME

    def give_up_reserve(self) -> bool:
        """Remove the reserve file to make room; returns whether there was one."""
        try:
            self.reserve_path.unlink()
        except OSError:
            return False
        return True

    def keep_reserve(self) -> bool:
        """Create the reserve file if it is missing and there is room; returns whether it exists."""
        if self.reserve_path.exists():
            return True
        # Twice: creating the file must not itself make the store read-only.
        if self.reserve_bytes == 0 or self.free_bytes() < 3 * self.reserve_bytes:
            return False
        partial = self.reserve_path.with_name(f".{_RESERVE_NAME}.partial")
        try:
            descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, min(self.reserve_bytes, _MOST_RESERVE_BYTES))
            finally:
                os.close(descriptor)
            partial.replace(self.reserve_path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            return False
        return True
