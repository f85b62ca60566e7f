"""A label set whose codes are one shard, and the file that it gets in the cache."""

from pathlib import Path

ROWS = 24_000


def only_file(directory: Path) -> Path:
    """The one cache file of a directory."""
    (path,) = directory.glob("sha256-*")
    return path
