"""Directories that this user may not list, also where tests run as root."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest


def unreadable(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Let a directory be one that this user may not list; root may list them all."""
    scandir = os.scandir

    def refusing(path: os.PathLike[str] | str) -> Any:
        if Path(path) == directory:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
