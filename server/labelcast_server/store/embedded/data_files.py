"""What an embedded server keeps in its directory, and what those files tell about their writer.

Redis up to 6.2 writes one `appendonly.aof`. Later servers keep a directory of files with a
manifest; the first of them moves an `appendonly.aof` there. A file that was rewritten begins with a
snapshot, whose header names the server.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from labelcast.errors import StoreUnavailableError
from labelcast_server.store.embedded.release import ServerKind, ServerRelease

SINGLE_FILE = "appendonly.aof"
FILES_DIRECTORY = "appendonlydir"

_MANIFEST = f"{SINGLE_FILE}.manifest"
_BASE_FILE = re.compile(r"^file (\S+) seq \d+ type b$", re.MULTILINE)
_WRITER = re.compile(rb"\xfa(?:\tredis|\n(valkey))-ver(?P<length>[\x01-\x3f])", re.DOTALL)
_HEADER_BYTES = 512
_OLDEST = ServerRelease(ServerKind.REDIS, (6, 2, 0))
_OLDEST_WITH_DIRECTORY = ServerRelease(ServerKind.REDIS, (7, 0, 0))


def server_directory(data_dir: Path) -> Path:
    """Directory of the embedded server below a service's data directory."""
    return data_dir / "redis"


def data_files(directory: Path) -> Iterator[Path]:
    """Paths of the files that hold data or say where they are, relative to `directory`."""
    if (directory / SINGLE_FILE).is_file():
        yield Path(SINGLE_FILE)
    for path in sorted((directory / FILES_DIRECTORY).glob("*")):
        if path.is_file():
            yield path.relative_to(directory)


def data_bytes(directory: Path) -> int:
    """Bytes of the data of a server in `directory`."""
    return sum(
        (directory / path).stat().st_size
        for path in data_files(directory)
        if path.suffix != ".manifest"
    )


def is_single_file(directory: Path) -> bool:
    """Whether the data are all in the one file of Redis 6.2, or of nobody."""
    return not (directory / FILES_DIRECTORY / _MANIFEST).exists()


def writer_by_files(directory: Path) -> ServerRelease | None:
    """The oldest server that can have written the files; None if there are no data.

    Raises:
        StoreUnavailableError: there are two sets of data, of which a server would show one.
    """
    single = directory / SINGLE_FILE
    has_single = single.is_file() and single.stat().st_size > 0
    if is_single_file(directory):
        return _named_in(single) or _OLDEST if has_single else None
    names = _BASE_FILE.findall((directory / FILES_DIRECTORY / _MANIFEST).read_text())
    base = directory / FILES_DIRECTORY / names[0] if names else None
    # A server that was killed before it moved the single file will find it where it is.
    moved = base is None or base.name != SINGLE_FILE or base.exists()
    if has_single and moved:
        raise StoreUnavailableError(
            f"{directory} holds the data of two servers: an older service wrote"
            f" {SINGLE_FILE} beside the {FILES_DIRECTORY} of a later one; move one of the two out"
            " of there and start again",
            directory=directory,
        )
    named = _named_in(base) if base is not None else None
    if named is None or _OLDEST_WITH_DIRECTORY.is_later_than(named):
        return _OLDEST_WITH_DIRECTORY
    return named


def _named_in(path: Path) -> ServerRelease | None:
    """The server that a file's header names; None without a header."""
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return None
    if not header.startswith((b"REDIS0", b"VALKEY")):
        return None
    found = _WRITER.search(header)
    if found is None:
        return None
    text = header[found.end() : found.end() + found["length"][0]]
    kind = ServerKind.VALKEY if found[1] else ServerKind.REDIS
    try:
        return ServerRelease.parse(kind, text.decode("ascii"))
    except ValueError:
        return None
