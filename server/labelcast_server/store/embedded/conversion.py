"""Hands the data of one server to another, which may leave them as only it can read them.

Rules:
  * before the new server starts, a copy of the data is on the disk, and the mark says what goes on;
  * no links: servers append to these files and cut them in place;
  * the copy is removed only once the mark says that the new server has loaded everything;
  * whatever ends a conversion before that, the copy takes its place again, and it begins anew.

Beside the server's directory `redis`, in order of their time:

    redis.copying      a copy that is not complete, or one that nobody needs
    redis.copy         the complete copy
    redis.unconverted  what a failed conversion left in the place of `redis`
"""

import contextlib
import errno
import logging
import shutil
from pathlib import Path

from labelcast.errors import StoreFullError
from labelcast.files import sync_names, whole_file
from labelcast_server.store.disk import Disk
from labelcast_server.store.embedded.data_files import (
    data_bytes,
    data_files,
    is_single_file,
    writer_by_files,
)
from labelcast_server.store.embedded.data_mark import MARK_NAME, DataMark, read_mark, write_mark
from labelcast_server.store.embedded.release import ServerRelease

_log = logging.getLogger(__name__)


def writer_of(directory: Path) -> ServerRelease | None:
    """The server whose data are in `directory`: by its mark and its files; None without data.

    Raises:
        StoreUnavailableError: its mark or its files contradict themselves.
    """
    by_files, mark = writer_by_files(directory), read_mark(directory)
    if mark is None or by_files is None or is_single_file(directory):
        # Only an older service writes a single file, and it knows no marks.
        return by_files
    return by_files if by_files.is_later_than(mark.server) else mark.server


class Conversion:
    """Keeps a copy of a server's data while another one opens them for the first time.

    Only used with the data directory locked and no server running.

    Args:
        directory: directory of the server's data.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._copy = directory.with_name(f"{directory.name}.copy")
        self._copying = directory.with_name(f"{directory.name}.copying")
        self._unconverted = directory.with_name(f"{directory.name}.unconverted")

    def restore(self) -> None:
        """Undo a conversion that did not come to its end, and clear away what nobody needs.

        Raises:
            OSError: the data directory cannot be written.
            StoreUnavailableError: the mark cannot be understood.
        """
        if self._copy.exists() and self._has_to_go_back():
            self._put_back()
        self._drop_copy()
        shutil.rmtree(self._unconverted, ignore_errors=True)

    def begin(self, before: ServerRelease | None, after: ServerRelease, disk: Disk) -> None:
        """Mark the data as those of `after`; first copy them if another server wrote them.

        Args:
            before: server that wrote the data; None if there are none.
            after: server that will be started.
            disk: disk of the directory.

        Raises:
            StoreFullError: there is no room for the copy.
            OSError: the data directory cannot be written.
            StorageError: the file system cannot say when a file is on the disk.
        """
        if before is None or before.writes_like(after):
            write_mark(self._directory, DataMark(after))
            return
        count = data_bytes(self._directory)
        _log.warning(
            "converting %s from %s to %s, which cannot be undone later; until it has succeeded,"
            " a copy of %d bytes is kept in %s",
            self._directory,
            before,
            after,
            count,
            self._copy,
        )
        try:
            if disk.room_bytes() < count:
                raise OSError(errno.ENOSPC, "no room for the copy")
            self._make_copy()
            write_mark(self._directory, DataMark(after, converting_from=before))
        except OSError as error:
            self._drop_copy()
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            free = disk.free_bytes()
            raise StoreFullError(
                f"{self._directory} holds data of {before}, and {after} converts them, for which a"
                f" copy of {count} bytes is kept; {free} bytes are free there and"
                f" {disk.reserve_bytes} are kept back: free disk space, or move the data directory"
                " to a larger disk, and start again",
                required_bytes=count,
                free_bytes=free,
                reserve_bytes=disk.reserve_bytes,
            ) from None

    def finish(self) -> None:
        """The new server has loaded everything: from here on the data are its own.

        Raises:
            OSError: the mark cannot be written.
        """
        mark = read_mark(self._directory)
        if mark is not None and mark.converting_from is not None:
            write_mark(self._directory, DataMark(mark.server))
            self._drop_copy()
            _log.warning("%s is converted to %s", self._directory, mark.server)

    def _has_to_go_back(self) -> bool:
        if not self._directory.exists():
            return True
        mark = read_mark(self._directory)
        if mark is None or mark.converting_from is None:
            return False
        if data_bytes(self._directory) <= data_bytes(self._copy):
            return True
        # No server grows by a start: an older service, which knows no marks, has written here.
        (self._directory / MARK_NAME).unlink()
        return False

    def _put_back(self) -> None:
        parent = self._directory.parent
        if self._directory.exists():
            shutil.rmtree(self._unconverted, ignore_errors=True)
            self._directory.rename(self._unconverted)
            # In this order also after a power cut: both are never gone.
            sync_names(parent)
        self._copy.rename(self._directory)
        sync_names(parent)
        with contextlib.suppress(OSError):
            # Says why.
            (self._unconverted / "redis.log").replace(self._directory / "redis.log")
        _log.warning("a conversion was interrupted: %s is as it was before", self._directory)

    def _make_copy(self) -> None:
        self._drop_copy()
        self._copying.mkdir(mode=0o700)
        for path in [*data_files(self._directory), Path(MARK_NAME)]:
            if (self._directory / path).exists():
                (self._copying / path.parent).mkdir(mode=0o700, exist_ok=True)
                with whole_file(self._copying / path) as partial:
                    shutil.copyfile(self._directory / path, partial)
        sync_names(self._copying)
        self._copying.rename(self._copy)
        sync_names(self._copy.parent)

    def _drop_copy(self) -> None:
        """Remove the copy; never under its name, by which it counts as complete."""
        shutil.rmtree(self._copying, ignore_errors=True)
        if self._copy.exists():
            self._copy.rename(self._copying)
            shutil.rmtree(self._copying, ignore_errors=True)
