"""Keeps two processes from writing one file of labels.

Two imports into one directory would append to the same file, and some rows would be those of the
other one: labels of other views, which nothing could tell afterwards.
"""

import fcntl
from pathlib import Path
from typing import IO

from labelcast.errors import BusyError


def claim(file: IO[bytes], *, shared: bool = False) -> None:
    """Keep a file for this process until it is closed, or its process ends.

    A file system without locks cannot tell who else writes there, so that nothing is refused.

    Args:
        file: open file; closed if it is refused.
        shared: whether others who share it may write too.

    Raises:
        BusyError: another process has it.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        path = Path(file.name)
        file.close()
        raise BusyError(
            f"another process is writing {path}: wait until it is done, or give another --out",
            path=path,
        ) from None
    except OSError:
        return
