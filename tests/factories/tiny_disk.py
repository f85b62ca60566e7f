"""A small file system that can be filled, where this process may mount one."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


class TinyDisk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self, *, leave: int = 0) -> None:
        """Have someone else's file take all the room but `leave` bytes."""
        with (self.path / "filling").open("ab", buffering=0) as file:
            for size in (2**20, 4096):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"x" * size)
            file.truncate(max(0, file.tell() - leave))

    def free(self) -> None:
        """Remove that file."""
        (self.path / "filling").unlink(missing_ok=True)


@contextlib.contextmanager
def tiny_disk(directory: Path, mib: int) -> Iterator[TinyDisk]:
    """Mount one of so many MiB; the test is skipped where that is not permitted."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(directory)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no tmpfs can be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield TinyDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
