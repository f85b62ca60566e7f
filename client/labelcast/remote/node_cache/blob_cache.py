"""Blobs kept on this machine for all processes of a user, keyed by digest.

sha256-<hex>             a blob, under its digest
.sha256-<hex>.partial    one that is being fetched, locked by whoever fetches it
asked-sha256-<hex>       how many bytes of a label set's rows were asked for: `AskedBytes`
.lock                    locked while room is made

Rules:
  * a file's name is no reason to trust it. Whoever reads one checks it, at first use in each
    process; so nothing here waits for the disk: what a power cut damages is found;
  * a file appears whole, and is never written again nor shortened: who has mapped one that is
    removed reads on what it was. Its time of access says when it was used last, its time of
    modification that nobody has written to it;
  * whoever keeps a file open has a shared lock on it, and what is locked is not evicted;
  * whatever the disk refuses costs the cache alone: a warning, and the service is asked.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from labelcast.errors import DigestMismatchError, InvalidRequestError
from labelcast.identifiers import Digest, digest_from_hash
from labelcast.label_set import BlobRef, check_digest
from labelcast.label_set.digests import require_digest
from labelcast.remote.node_cache.asked_bytes import AskedBytes
from labelcast.remote.node_cache.locks import sole_maker
from labelcast.remote.node_cache.room import reserve

DEFAULT_MIB = 4096
_MIB = 2**20
_PATIENCE_SECONDS = 60.0

logger = logging.getLogger(__name__)

Fetch = Callable[[], Iterable[bytes]]


class BlobCache:
    """A directory of blobs that processes share.

    Args:
        directory: directory, created when the first blob is kept.
        max_bytes: bytes that all its files may take.

    Attributes:
        max_bytes: see above.
    """

    def __init__(self, directory: Path, max_bytes: int = DEFAULT_MIB * _MIB) -> None:
        self.max_bytes = max_bytes
        self._directory = directory

    @classmethod
    def of(
        cls,
        directory: str | os.PathLike[str] | bool | None,
        mib: int,
    ) -> "BlobCache | None":
        """The cache that a client's arguments ask for.

        Args:
            directory: directory; True for `labelcast` in the user's cache directory, which
                XDG_CACHE_HOME names; None or False for no cache.
            mib: MiB that it may hold.

        Raises:
            InvalidRequestError: it may hold nothing.
        """
        if isinstance(mib, bool) or not mib >= 1:
            raise InvalidRequestError(f"cache_mib is {mib}, must be at least 1")
        if directory is None or directory is False:
            return None
        return cls(_users() if directory is True else Path(directory), int(mib * _MIB))

    def asked_bytes(self, label_set: Digest, share_bytes: int) -> AskedBytes:
        """The count of what is asked of a label set, common to all processes."""
        path = self._directory / f"asked-{label_set.replace(':', '-')}"
        return AskedBytes(path, share_bytes)

    def missing_bytes(self, refs: Iterable[BlobRef]) -> int:
        """Bytes of the blobs that are not here."""
        return sum(ref.size for ref in refs if not self._is_here(ref))

    def get(self, ref: BlobRef) -> bytes | None:
        """Read a blob whole, or None; a damaged file is removed and counts as absent."""
        path = self._path(ref)
        try:
            with path.open("rb") as file:
                content = file.read()
                _mark_used(file.fileno())
                check_digest(content, ref.digest, str(path))
        except OSError:
            # A cache that cannot be read only costs time.
            return None
        except DigestMismatchError:
            self._warn_of_damage(path)
            path.unlink(missing_ok=True)
            return None
        return content

    def put(self, ref: BlobRef, content: bytes) -> None:
        """Keep a blob that its caller has verified, if the disk allows it; waits for nobody."""
        try:
            self._make(ref, lambda: [content], patience_seconds=0)
        except OSError as error:
            logger.warning("cannot cache %s: %s", ref.digest, error)

    def read(self, ref: BlobRef, fetch: Fetch) -> bytes:
        """Read a blob whole; one process fetches what is not here, while others wait for it.

        Args:
            ref: blob.
            fetch: gives its content in pieces, from the service.

        Raises:
            DigestMismatchError: it arrived damaged.
            Otherwise as `fetch`.
        """
        content = self.get(ref)
        if content is None:
            try:
                self._make(ref, fetch)
                content = self.get(ref)
            except OSError as error:
                logger.warning("cannot cache %s: %s", ref.digest, error)
        if content is None:
            content = b"".join(fetch())
            check_digest(content, ref.digest, f"blob {ref.digest}")
        return content

    def open(self, ref: BlobRef, fetch: Fetch) -> int:
        """Open the file of a blob, fetched as by `read` if it is not here.

        Its size is right; what it holds is the caller's to check, and to `drop` if it is damaged.
        Until the last descriptor of this opening is closed, nobody evicts it.

        Returns:
            Descriptor, for reading.

        Raises:
            OSError: it is not here, and cannot be kept.
            DigestMismatchError: it arrived damaged.
            Otherwise as `fetch`.
        """
        descriptor = self._find(ref)
        if descriptor is None:
            self._make(ref, fetch)
            descriptor = self._find(ref)
        if descriptor is None:
            raise FileNotFoundError(f"{self._path(ref)} was removed as soon as it was made")
        return descriptor

    def drop(self, ref: BlobRef, descriptor: int) -> None:
        """Remove a damaged file, unless another process has already done so and made it anew."""
        path = self._path(ref)
        self._warn_of_damage(path)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                path.unlink()

    def _find(self, ref: BlobRef) -> int | None:
        path = self._path(ref)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, descriptor)
            # Nobody holds the other lock for longer than it takes to rename or remove a file.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            found = os.fstat(descriptor)
            if not found.st_nlink:
                return None
            if not stat.S_ISREG(found.st_mode) or found.st_size != ref.size:
                self.drop(ref, descriptor)
                return None
            _mark_used(descriptor)
            stack.pop_all()
        return descriptor

    def _make(
        self, ref: BlobRef, fetch: Fetch, *, patience_seconds: float = _PATIENCE_SECONDS
    ) -> None:
        """Have a blob here, whoever fetches it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(ref)
        partial = path.with_name(f".{path.name}.partial")
        with sole_maker(path, partial, patience_seconds) as descriptor:
            if descriptor is None:
                return
            try:
                reserve(self._directory, descriptor, ref.size, self.max_bytes)
                _write(descriptor, ref, fetch())
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def _is_here(self, ref: BlobRef) -> bool:
        try:
            return self._path(ref).stat().st_size == ref.size
        except OSError:
            return False

    def _warn_of_damage(self, path: Path) -> None:
        logger.warning("%s is damaged; it is removed and fetched again", path)

    def _path(self, ref: BlobRef) -> Path:
        return self._directory / ref.digest.replace(":", "-")


def _users() -> Path:
    """The cache directory of the user, as the XDG base directory specification says."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "labelcast"


def _write(descriptor: int, ref: BlobRef, pieces: Iterable[bytes]) -> None:
    hasher = hashlib.sha256()
    with open(descriptor, "r+b", closefd=False) as file:
        for piece in pieces:
            hasher.update(piece)
            file.write(piece)
    require_digest(digest_from_hash(hasher.digest()), ref.digest, f"blob {ref.digest}")


def _mark_used(descriptor: int) -> None:
    # Another user's file, or one on a disk that is mounted read-only, goes without.
    with contextlib.suppress(OSError):
        os.utime(descriptor, ns=(time.time_ns(), os.fstat(descriptor).st_mtime_ns))
