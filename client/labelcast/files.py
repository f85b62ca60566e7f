"""Files that appear whole or not at all, and their digests.

A file written in place can be read half-written, or be half gone after a power cut. Here content
goes to a partial file beside its target, reaches the disk, and takes the target's name in one step.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from labelcast.identifiers import Digest, digest_from_hash


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Replace a file in one step, once all its content is on the disk.

    Args:
        path: path of the file, which stays unchanged if the block raises.

    Yields:
        The path for the block to write: beside `path`, not existing.

    Raises:
        OSError: the file cannot be written, or the block wrote none.
    """
    # Neither another process nor another thread may write the same partial file.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    # Without this the file may go back to its old name, or to none, when the power fails.
    _sync(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by `content` in one step, as `whole_file` does."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


def sync_file(file: BinaryIO) -> None:
    """Return once everything that was written to an open file is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def file_digest(path: Path) -> Digest:
    """Digest of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return digest_from_hash(hashlib.file_digest(stream, "sha256").digest())


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
