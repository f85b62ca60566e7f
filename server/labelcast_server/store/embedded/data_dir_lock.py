"""One service per data directory."""

import contextlib
import fcntl
import os
import time
from pathlib import Path

from labelcast.errors import BusyError, StoreUnavailableError

_LOCK_NAME = "lock"
# `holder` takes the lock for an instant to look; a service that starts then must not give up.
_PATIENCE_SECONDS = 0.2


class DataDirLock:
    """Exclusive lock on a directory; the kernel drops it when its last owner dies.

    Forked children of the owner own it too: a directory is free only once they are gone.

    Args:
        data_dir: directory to lock; created, readable by its owner only, if missing.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock, or fail at once.

        Raises:
            BusyError: another service holds it; the message names the directory.
            StoreUnavailableError: the directory cannot be created, written or locked.
        """
        if self._descriptor is not None:
            return
        path = self._data_dir / _LOCK_NAME
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreUnavailableError(
                f"the data directory {self._data_dir} cannot be used ({error.strerror});"
                " choose one that you may write"
            ) from error
        try:
            taken = _try_lock(descriptor, _PATIENCE_SECONDS)
        except OSError as error:
            os.close(descriptor)
            raise _no_locks(self._data_dir, error) from None
        if not taken:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise BusyError(
                f"the data directory {self._data_dir} is in use by another labelcast service"
                f" (process {owner or 'unknown'}); stop that one or choose another directory",
                data_dir=self._data_dir,
                pid=owner,
            )
        os.ftruncate(descriptor, 0)
        # For people only: a full disk must not keep the service from starting.
        with contextlib.suppress(OSError):
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock; the file stays, because removing it would race with others."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock_holder(data_dir: Path) -> str | None:
    """Process ID of the service that uses a data directory ("unknown" if unsaid), None if free.

    Raises:
        StoreUnavailableError: nothing can be locked there.
    """
    try:
        descriptor = os.open(data_dir / _LOCK_NAME, os.O_RDONLY)
    except OSError:
        return None
    try:
        if _try_lock(descriptor, 0):
            return None
        return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
    except OSError as error:
        raise _no_locks(data_dir, error) from None
    finally:
        os.close(descriptor)


def _no_locks(data_dir: Path, error: OSError) -> StoreUnavailableError:
    return StoreUnavailableError(
        f"the data directory {data_dir} lies on a file system without locks ({error.strerror}), so"
        " a second service could use it too; choose a directory on another one"
    )


def _try_lock(descriptor: int, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
