"""The disk fills up while students read, and is emptied again.

A service with its own Redis, whose data lie on a file system of a fixed size in memory. Mounting
one takes root: where that is not permitted, nothing is tried and the result says so.
"""

import contextlib
import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.chaos.bounded import HungError
from benchmarks.chaos.catalog import SETS
from benchmarks.chaos.encryption import Encryption
from benchmarks.chaos.faults import Fault
from benchmarks.chaos.label_sets import SpelledSet
from benchmarks.chaos.publishing import push, read_whole
from benchmarks.chaos.service import ChaosService
from benchmarks.chaos.tally import Tally
from labelcast import LabelcastError

_DISK_MIB = 256
_FULL_SECONDS = 8.0
_BACK_SECONDS = 120.0
_PATIENCE_SECONDS = 20.0
_BLOCK = bytes(2**20)


def fill_disk(directory: Path, tally: Tally, encryption: Encryption | None) -> dict[str, Any]:
    """Run the scenario. Blocks.

    Args:
        directory: for everything; must not exist.
        tally: told of every read, and of the fault.
        encryption: certificates; None for plain text.

    Returns:
        Whether it ran, what was refused, and how soon labels could be published again.
    """
    disk = directory / "disk"
    disk.mkdir(parents=True)
    size = f"size={_DISK_MIB}m"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)]
    if not _succeeds(mount):
        return {"ran": False, "why": "a file system of a fixed size may not be mounted here"}
    try:
        service = ChaosService(directory, [], encryption)
        service.data_dir = disk / "data"
        try:
            return {"ran": True, **_run(service, disk, directory, tally)}
        finally:
            service.stop()
    finally:
        _succeeds(["umount", "-l", str(disk)])


def _run(service: ChaosService, disk: Path, directory: Path, tally: Tally) -> dict[str, Any]:
    service.start()
    known, _, wide, refused, *_ = SETS
    for one in (known, wide):
        push(one, directory / one.tag, service.doors())
    _read(known, service, tally)
    began, rows, ended = time.monotonic(), tally.counts["rows"], 0
    with _reader(known, service, tally), _full(disk):
        outcome = _push(refused, service, directory / "refused")
        time.sleep(_FULL_SECONDS)
        ended += not service.is_running()
        served = tally.counts["rows"] - rows
    emptied = time.monotonic()
    tally.faults.append(Fault("disk_full", "disk", None, began, emptied))
    again = ""
    while again != "published" and time.monotonic() < emptied + _BACK_SECONDS:
        if not service.is_running():
            service.end()
            service.start()
        again = _push(refused, service, directory / f"again-{time.monotonic_ns()}")
        time.sleep(0.2)
    seconds = time.monotonic() - emptied
    for one in (known, wide, refused):
        _read(one, service, tally)
    if again != "published":
        tally.untyped.append(f"untyped: not restored: a push after the disk was full: {again}")
    return {
        "push_ended_as": outcome,
        "rows_while_full": served,
        "service_ended": bool(ended),
        "seconds_until_published": round(seconds, 1),
    }


def _push(known: SpelledSet, service: ChaosService, directory: Path) -> str:
    try:
        push(known, directory, service.doors())
    except (LabelcastError, HungError) as error:
        return type(error).__name__
    return "published"


def _read(known: SpelledSet, service: ChaosService, tally: Tally) -> None:
    report: dict[str, Any] = {"event": "call", "call": "read", "slot": -1}
    try:
        judge = read_whole(known, service.doors(), _PATIENCE_SECONDS)
    except LabelcastError as error:
        tally.take(report | {"outcome": type(error).__name__})
    except HungError:
        tally.take({"event": "hung", "slot": -1, "doing": f"reading {known.tag} by a full disk"})
    except Exception as error:  # noqa: BLE001 - reported
        tally.take(report | {"outcome": f"untyped: {type(error).__name__}: {error}"[:300]})
    else:
        tally.take(report | {"outcome": "complete"} | judge.verdict.as_json())


@contextlib.contextmanager
def _reader(known: SpelledSet, service: ChaosService, tally: Tally) -> Iterator[None]:
    """Reads a label set again and again."""
    stopping = threading.Event()

    def read() -> None:
        while not stopping.wait(0.1):
            _read(known, service, tally)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


@contextlib.contextmanager
def _full(disk: Path) -> Iterator[None]:
    """Not one byte is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for block in (_BLOCK, _BLOCK[:4096], _BLOCK[:1]):
            try:
                while True:
                    file.write(block)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
        os.fsync(file.fileno())
    try:
        yield
    finally:
        filler.unlink()


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
