"""What file systems do that lack something, on one that has it."""

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest


def without_fsync(
    monkeypatch: pytest.MonkeyPatch, code: int, *, below: Path, directories_only: bool = False
) -> None:
    """Let fsync fail with an error number for what lies below a directory."""
    fsync = os.fsync

    def refusing(descriptor: int) -> None:
        inside = Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(below)
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if inside and (is_directory or not directories_only):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)


def without_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no file get a second name."""

    def refusing(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refusing)


def without_locks(monkeypatch: pytest.MonkeyPatch, *, below: Path) -> None:
    """Let nothing below a directory be locked."""
    flock = fcntl.flock

    def refusing(descriptor: int, operation: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(below):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", refusing)
