"""Locks on files, which the kernel drops with the process that holds them."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
_LOOK_SECONDS = 0.05


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """Hold a lock that is never held for long.

    Args:
        path: file that is locked, created if missing.

    Yields:
        Descriptor of the file.

    Raises:
        OSError: the file system has no locks, or the file cannot be made.
    """
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        _release(descriptor)


@contextlib.contextmanager
def sole_maker(path: Path, partial: Path, patience_seconds: float) -> Iterator[int | None]:
    """Be the only one, of all processes and threads, that makes a file.

    Args:
        path: file to be made; the block renames `partial` to it.
        partial: what it is made in, and what is locked. One that a killed process left is taken
            over with all that is in it.
        patience_seconds: seconds that another maker may go without writing anything; 0 waits for
            none.

    Yields:
        Descriptor of `partial`; None if `path` exists, perhaps by now, or another one makes it and
        is not waited for.

    Raises:
        OSError: the file system has no locks, or the file cannot be made; as a `TimeoutError`,
            another maker has stopped.
    """
    descriptor, last, since = None, -1, time.monotonic()
    while descriptor is None:
        if path.exists():
            yield None
            return
        descriptor = _taken(partial)
        if descriptor is not None and path.exists():
            # Renamed between the two: this is another, new and empty.
            partial.unlink()
            _release(descriptor)
            descriptor = None
        elif descriptor is None:
            if not patience_seconds:
                yield None
                return
            written = _last_write(partial)
            if written != last:
                last, since = written, time.monotonic()
            elif time.monotonic() - since >= patience_seconds:
                raise TimeoutError(f"another process has stopped writing {partial.name}")
            time.sleep(_LOOK_SECONDS)
    try:
        yield descriptor
    finally:
        _release(descriptor)


def remove_unused(path: Path) -> bool:
    """Remove a file unless somebody has locked it; whether it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another one of that name may have been made by now, and be in use.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            path.unlink()
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return True
    finally:
        # Locked still, if by anyone, by those who share another descriptor.
        os.close(descriptor)
    return True


def _taken(partial: Path) -> int | None:
    """A locked descriptor of the file of that name; None if another maker holds it."""
    descriptor = os.open(partial, _FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Renamed or removed before it was locked, it is another file by now.
        if os.path.samestat(os.fstat(descriptor), partial.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _last_write(partial: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return partial.stat().st_mtime_ns
    return -1


def _release(descriptor: int) -> None:
    # Closing alone would leave the lock to a process that was forked in the meantime.
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
