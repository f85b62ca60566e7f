"""The mark in an embedded server's directory that says which server its data are for.

Files do not tell it for certain: Valkey leaves what Redis wrote as it is until it rewrites it, and
Redis 6.2 started on data of a later server shows no keys.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from labelcast.errors import StoreUnavailableError
from labelcast.files import write_whole
from labelcast_server.store.embedded.release import ServerRelease

MARK_NAME = "server.json"


@dataclass(frozen=True, slots=True)
class DataMark:
    """What the mark says.

    Attributes:
        server: latest server that was started on the data.
        converting_from: the one before, while it is not known that `server` can open its data.
    """

    server: ServerRelease
    converting_from: ServerRelease | None = None


def read_mark(directory: Path) -> DataMark | None:
    """Read the mark of a directory; None if there is none.

    Raises:
        StoreUnavailableError: it cannot be understood.
    """
    path = directory / MARK_NAME
    try:
        content = json.loads(path.read_bytes())
        before = content.get("converting_from")
        return DataMark(_release(content), None if before is None else _release(before))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise StoreUnavailableError(
            f"{path} does not say which server the data are for; delete it to go by the files",
            path=path,
        ) from None


def write_mark(directory: Path, mark: DataMark) -> None:
    """Write the mark, on the disk before this returns; leave one that says the same alone.

    Raises:
        OSError: it cannot be written.
        StorageError: the file system cannot say when a file is on the disk.
    """
    if read_mark(directory) != mark:
        content: dict[str, object] = {**_fields(mark.server)}
        if mark.converting_from is not None:
            content["converting_from"] = _fields(mark.converting_from)
        write_whole(directory / MARK_NAME, f"{json.dumps(content, indent=2)}\n".encode())


def _fields(release: ServerRelease) -> dict[str, str]:
    return {"server": release.kind.value, "version": release.version_text}


def _release(content: dict[str, str]) -> ServerRelease:
    return ServerRelease.parse(content["server"], content["version"])
