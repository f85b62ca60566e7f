"""Files that appear whole or not at all, and their digests.

A file written in place can be read half-written, or be half gone after a power cut. Here content
goes to a partial file beside its target, reaches the disk, and takes the target's name in one step.
"""

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from labelcast.errors import StorageError
from labelcast.identifiers import Digest, digest_from_hash

# What a file system says that has no fsync; network and user-space ones may lack it.
_NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Replace a file in one step, once all its content is on the disk.

    Args:
        path: path of the file, which stays unchanged if the block raises.

    Yields:
        The path for the block to write: beside `path`, not existing.

    Raises:
        OSError: the file cannot be written, or the block wrote none.
        StorageError: the file system cannot say when a file is on the disk.
    """
    # Neither another process nor another thread may write the same partial file.
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        with partial.open("rb") as written:
            sync_descriptor(written.fileno(), path)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_names(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by `content` in one step, as `whole_file` does."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


def sync_file(file: BinaryIO) -> None:
    """Return once everything that was written to an open file is on the disk.

    Raises:
        As `sync_descriptor`.
    """
    file.flush()
    sync_descriptor(file.fileno(), Path(file.name))


def sync_descriptor(descriptor: int, path: Path) -> None:
    """Return once everything that was written to an open file is on the disk.

    Args:
        descriptor: of the open file.
        path: of the file, for messages.

    Raises:
        OSError: it cannot be written; names it.
        StorageError: the file system cannot say when a file is on the disk.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise StorageError(
            f"{path} lies on a file system that cannot say when a file is on the disk"
            f" (fsync: {error.strerror}); choose a directory on another one",
            path=path,
        ) from None


def file_digest(path: Path) -> Digest:
    """Digest of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return digest_from_hash(hashlib.file_digest(stream, "sha256").digest())


def sync_names(directory: Path) -> None:
    """Keep files of a directory from going back to old names, or to none, when the power fails.

    Many file systems cannot do that for directories. There a file may be missing or old after a
    power cut, which its readers notice; it is never half there.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise OSError(error.errno, error.strerror, str(directory)) from None
    finally:
        os.close(descriptor)


def remove_for_good(path: Path) -> None:
    """Remove a file, if it is there, so that no power cut brings it back."""
    if path.exists():
        path.unlink()
        sync_names(path.parent)
