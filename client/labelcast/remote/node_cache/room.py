"""How much the cache holds, and which files make room for another."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from labelcast.remote.node_cache.locks import locked, remove_unused

_MIB = 2**20


def reserve(directory: Path, descriptor: int, size: int, max_bytes: int) -> None:
    """Reserve room for a file, in the cache and on its disk; unused files may go for it.

    Whole files go, those that were used longest ago first, and none that a process has opened.

    Args:
        directory: directory of the cache.
        descriptor: of the file, which is empty afterwards but for its size.
        size: bytes of the file.
        max_bytes: bytes that all files may take.

    Raises:
        OSError: there is no room, in the cache or on the disk.
    """
    os.ftruncate(descriptor, 0)
    # One at a time: two that count the same room would both take it.
    with locked(directory / ".lock"):
        _make_room(directory, size, max_bytes)
        # In full, since a full disk must be an error here and now, and so that others count it.
        os.posix_fallocate(descriptor, 0, size)


def _make_room(directory: Path, size: int, max_bytes: int) -> None:
    files = sorted(_files(directory))
    taken = sum(held for _, _, held, _ in files)
    for _, _, held, path in files:
        if taken + size <= max_bytes or size > max_bytes:
            break
        if remove_unused(path):
            taken -= held
    if taken + size > max_bytes:
        raise OSError(
            errno.ENOSPC,
            f"{size / _MIB:.1f} MiB more would exceed the {max_bytes / _MIB:g} MiB of cache_mib,"
            f" of which {taken / _MIB:.1f} are in use",
        )


def _files(directory: Path) -> Iterator[tuple[bool, int, int, Path]]:
    """Files in the order in which they may go: what was left half-made is the first."""
    for entry in os.scandir(directory):
        half_made = entry.name.startswith(".sha256-") and entry.name.endswith(".partial")
        if half_made or entry.name.startswith("sha256-"):
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield not half_made, found.st_atime_ns, found.st_size, directory / entry.name
