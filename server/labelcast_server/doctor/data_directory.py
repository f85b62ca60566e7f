"""Checks of the data directory and the server that opens it."""

import os
from pathlib import Path

from labelcast.errors import StorageError, StoreUnavailableError
from labelcast_server.doctor.finding import Finding, gib
from labelcast_server.store.disk import Disk
from labelcast_server.store.embedded.conversion import writer_of
from labelcast_server.store.embedded.data_dir_lock import lock_holder
from labelcast_server.store.embedded.data_files import data_bytes, server_directory
from labelcast_server.store.embedded.executable import find_server

_LITTLE_DISK_BYTES = 2 * 2**30


def check_redis_server(
    data_dir: Path | None = None, disk_reserve_bytes: int | None = None
) -> list[Finding]:
    """Check that there is a server for the embedded store, one that opens the data there are.

    Args:
        data_dir: data directory; need not exist.
        disk_reserve_bytes: disk space that the service keeps free; by default as in `Disk.of`.
    """
    directory = None if data_dir is None else server_directory(data_dir)
    try:
        writer = None if directory is None else writer_of(directory)
        server = find_server(writer)
    except StorageError as error:
        return [Finding("redis-server", "error", error.message, "do what the message says")]
    found = Finding("redis-server", "ok", str(server))
    if directory is None or writer is None or writer.writes_like(server.release):
        return [found]
    count, room = data_bytes(directory), Disk.of(directory, disk_reserve_bytes).room_bytes()
    conversion = Finding(
        "conversion",
        "warning" if count <= room else "error",
        f"the next start converts the data of {writer} in {data_dir} to {server.release}, which"
        " cannot be undone later",
        f"have {gib(count)} of disk space free, for the copy that is kept until it has succeeded;"
        f" {gib(room)} are free",
    )
    return [found, conversion]


def check_data_dir(data_dir: Path, disk_reserve_bytes: int | None = None) -> list[Finding]:
    """Check that the data directory is writable, has room and is not in use.

    Args:
        data_dir: data directory; need not exist.
        disk_reserve_bytes: disk space that the service keeps free; by default as in `Disk.of`.
    """
    existing = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return [
            Finding(
                "data-dir",
                "error",
                f"{data_dir} cannot be written",
                "choose another directory or change its owner",
            )
        ]
    disk = Disk.of(existing, disk_reserve_bytes)
    free = disk.free_bytes()
    room = Finding(
        "disk", "ok", f"{gib(free)} free under {data_dir}, {gib(disk.reserve_bytes)} kept back"
    )
    if disk.room_bytes() == 0:
        room = Finding(
            "disk",
            "warning",
            f"only {gib(free)} free under {data_dir}, and {gib(disk.reserve_bytes)} are kept"
            " back: label sets are served, and nothing can be pushed, tagged or retired",
            "free disk space; the service takes writes again by itself",
        )
    elif free < _LITTLE_DISK_BYTES:
        room = Finding(
            "disk",
            "warning",
            f"only {gib(free)} free under {data_dir}",
            "free disk space: label sets take up to twice their size while Redis rewrites its file",
        )
    try:
        owner = lock_holder(data_dir)
    except StoreUnavailableError as error:
        return [Finding("data-dir", "error", error.message, "choose another directory"), room]
    if owner is None:
        return [Finding("data-dir", "ok", f"{data_dir} can be written and is free"), room]
    in_use = Finding(
        "data-dir",
        "warning",
        f"{data_dir} is in use by process {owner}",
        "stop that service, or give this one another directory",
    )
    return [in_use, room]
