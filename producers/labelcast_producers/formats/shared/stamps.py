"""Whether files are still those that were scanned: labels are read again, minutes or hours later.

What is read while a file changes belongs to no scan, so a file is looked at before and after. A
copy that keeps its time of change has another time of status change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelcast.errors import LabelFileError

# Size, and times of the last change of content and of status.
_Stamp = tuple[int, int, int]


class Stamps:
    """Size and times of files, by which a change is noticed."""

    def __init__(self) -> None:
        self._stamps: dict[Path, _Stamp] = {}

    def note(self, path: Path) -> None:
        """Remember a file that is about to be scanned.

        Raises:
            LabelFileError: it cannot be read.
        """
        self._stamps[path] = _stamp(path)

    def require_unchanged(self, path: Path) -> None:
        """Refuse a file that is not as it was noted.

        Raises:
            LabelFileError: it has changed, or cannot be read.
        """
        if _stamp(path) != self._stamps[path]:
            raise changed(path)

    @contextmanager
    def unchanged(self, path: Path) -> Iterator[None]:
        """Refuse what is read of a file that changes before or meanwhile.

        Raises:
            LabelFileError: it has changed, or cannot be read.
        """
        self.require_unchanged(path)
        yield
        self.require_unchanged(path)


def changed(path: Path) -> LabelFileError:
    """The error of a file that is not what was scanned."""
    return LabelFileError(f"{path} has changed since it was scanned; import it again", path=path)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError as error:
        raise LabelFileError(f"cannot read {path}: {error.strerror}", path=path) from None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
