"""Private directories: of one run, removed at the next start at the latest; and of the cache."""

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from labelcast.errors import LabelcastError
from labelcast_server.store.embedded.data_dir_lock import DataDirLock, lock_holder

_RUN_PREFIX = "labelcast-run-"
# sockaddr_un holds 104 bytes with the closing NUL on macOS, and a socket's name comes on top.
_LONGEST_RUN_DIRECTORY = 80


@contextlib.contextmanager
def own_directory(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a private directory for this run, removed at its end; also removes those of dead runs.

    It is locked while this process lives, so that others can tell. The leftovers of a killed
    service are of no use to the next, and its processes may still write for a moment.

    Args:
        parent: parent directory; created if missing. Others may use it too.
        prefix: prefix of the directory's name.

    Raises:
        LabelcastError: the directory cannot be made.
    """
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_those_of_the_dead(parent, prefix)
        unlocked = Path(tempfile.mkdtemp(prefix=f"new-{prefix}", dir=parent))
        lock = DataDirLock(unlocked)
        lock.acquire()
        # Others look at it only from here on, when it is locked.
        own = unlocked.rename(parent / unlocked.name.removeprefix("new-"))
    except OSError as error:
        raise LabelcastError(f"cannot use the directory {parent}: {error}") from None
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        lock.release()


def run_directory() -> contextlib.AbstractContextManager[Path]:
    """Make the directory for the sockets of this run.

    Raises:
        LabelcastError: the directory cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    # mkdtemp adds eight characters.
    if len(os.fsencode(parent / _RUN_PREFIX)) + 8 > _LONGEST_RUN_DIRECTORY:
        parent = Path("/tmp")  # noqa: S108 - mkdtemp makes a private directory there
    return own_directory(parent, _RUN_PREFIX)


def kept_directory(parent: Path) -> Path:
    """Make the private directory of a user's caches, or find it; nobody removes it.

    Services of one user share it. Other users may have theirs beside it.

    Args:
        parent: parent directory; created if missing.

    Raises:
        LabelcastError: the directory cannot be made, or is another user's.
    """
    own = parent / f"labels-{os.geteuid()}"
    try:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise LabelcastError(
                f"cannot keep the cache in {own}: it is no directory of this user; remove it, or"
                " set LABELCAST_CACHE_DIR"
            )
        own.chmod(0o700)
    except OSError as error:
        raise LabelcastError(f"cannot use the directory {parent}: {error}") from None
    return own


def _remove_those_of_the_dead(parent: Path, prefix: str) -> None:
    for old in parent.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            found = old.lstat()
            # In a directory that all users share, other users' directories are not ours to remove.
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                continue
            if lock_holder(old) is None:
                shutil.rmtree(old, ignore_errors=True)
