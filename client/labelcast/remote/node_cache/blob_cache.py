"""Blobs kept on this machine, keyed by digest and checked on every read."""

import logging
from pathlib import Path

from labelcast.errors import DigestMismatchError, StorageError
from labelcast.files import write_whole
from labelcast.label_set import BlobRef, check_digest

logger = logging.getLogger(__name__)


class BlobCache:
    """A directory that processes may share: files appear whole, under their digest.

    Args:
        directory: directory, created at the first `put`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, ref: BlobRef) -> bytes | None:
        """Read the blob, or None; a damaged file is removed and counts as absent."""
        path = self._path(ref)
        try:
            content = path.read_bytes()
            check_digest(content, ref.digest, str(path))
        except OSError:
            # A cache that cannot be read only costs time.
            return None
        except DigestMismatchError:
            path.unlink(missing_ok=True)
            return None
        return content

    def put(self, ref: BlobRef, content: bytes) -> None:
        """Keep a blob that its caller has verified, if the disk allows it."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(ref), content)
        except (OSError, StorageError) as error:
            logger.warning("cannot cache %s: %s", ref.digest, error)

    def _path(self, ref: BlobRef) -> Path:
        return self._directory / ref.digest.replace(":", "-")
