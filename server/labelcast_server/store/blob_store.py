"""The contract of every blob store: bytes under their digests, and the upload sessions."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from labelcast.identifiers import Digest, UploadId


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A complete blob.

    Attributes:
        digest: sha256 of the whole content.
        size: size in bytes.
        chunk_bytes: size of every chunk but the last, which may be shorter.
    """

    digest: Digest
    size: int
    chunk_bytes: int

    @property
    def chunk_count(self) -> int:
        """Number of chunks in the blob."""
        return -(-self.size // self.chunk_bytes)

    def chunk_size(self, number: int) -> int:
        """Size of chunk `number` in bytes, counted from 0."""
        return min(self.chunk_bytes, self.size - number * self.chunk_bytes)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload session: a blob that is incomplete and not visible to any reader.

    Attributes:
        upload_id: random and unguessable; also names the place of the chunks, so that two sessions
            for one digest never touch each other's bytes.
        blob: digest and sizes of the blob to upload.
        received_bytes: size of the whole chunks stored so far, in order; `blob.size` when complete.
        expires_at: Unix seconds after which `sweep` may drop it.
    """

    upload_id: UploadId
    blob: BlobInfo
    received_bytes: int
    expires_at: float


@dataclass(frozen=True, slots=True)
class Capacity:
    """Room left in the store.

    Attributes:
        used_bytes: memory in use.
        headroom_bytes: bytes that may still be added; None if nothing limits them.
        bound: limit that sets the headroom, for people ("maxmemory", "system memory" …).
    """

    used_bytes: int
    headroom_bytes: int | None
    bound: str


def new_upload_id() -> UploadId:
    """Draw a new upload ID: 12 random bytes, short because every chunk key holds it."""
    return UploadId(secrets.token_urlsafe(12))


class BlobStore(ABC):
    """Durable storage of blobs.

    Every implementation MUST:
      * raise `StoreUnavailableError` when the backend cannot be reached, `StoreFullError` when it
        refuses for lack of memory or disk, and never a foreign exception, nor a message with an
        address's credentials in it;
      * keep an upload invisible to `blob` and `read_chunks` until `finish_upload` returns, and
        make it visible at once and whole;
      * never change a blob that is visible;
      * return exactly the bytes that were written, or raise;
      * survive concurrent use from many tasks of one event loop.
    """

    # Uploads

    @abstractmethod
    async def begin_upload(self, upload: Upload) -> None:
        """Record a new session; its `received_bytes` MUST be 0."""

    @abstractmethod
    async def upload(self, upload_id: UploadId) -> Upload:
        """Look up a session.

        Raises:
            UploadNotFoundError: unknown, finished, aborted or swept.
        """

    @abstractmethod
    async def append_chunks(
        self, upload_id: UploadId, first_chunk: int, chunks: Sequence[bytes]
    ) -> Upload:
        """Store consecutive whole chunks (the blob's last one may be short) and advance.

        Raises:
            UploadNotFoundError: as `upload`.
            UploadOffsetError: `first_chunk` is not the next one, a chunk has the wrong size, or
                there are more chunks than the blob has; nothing is stored.
        """

    @abstractmethod
    async def read_upload_chunks(self, upload_id: UploadId, numbers: Sequence[int]) -> list[bytes]:
        """Read chunks of a session, for verification before it is finished."""

    @abstractmethod
    async def finish_upload(self, upload_id: UploadId) -> BlobInfo:
        """Make the blob visible. The caller has verified the content against the digest.

        If a blob of that digest is visible already, the session's bytes are dropped instead.

        Raises:
            UploadNotFoundError: as `upload`.
            UploadOffsetError: bytes are missing.
        """

    @abstractmethod
    async def abort_upload(self, upload_id: UploadId) -> None:
        """Discard the session and its bytes; an unknown session is no error."""

    @abstractmethod
    async def sweep(self, now: float) -> int:
        """Abort every session that expired before `now` (Unix seconds); returns how many."""

    # Blobs

    @abstractmethod
    async def blob(self, digest: Digest) -> BlobInfo:
        """Look up the blob stored under `digest`.

        Raises:
            BlobNotFoundError: no visible blob has that digest.
        """

    @abstractmethod
    async def read_chunks(self, digest: Digest, numbers: Sequence[int]) -> list[bytes]:
        """Read chunks of a visible blob, in the order of `numbers`, each of its exact size.

        Raises:
            BlobNotFoundError: no such blob, or one of its chunks is gone.
            InvalidRequestError: a number is out of range.
        """

    @abstractmethod
    async def drop_blob(self, digest: Digest) -> None:
        """Remove a blob that turned out damaged, so that it can be uploaded again.

        An unknown blob is no error.
        """

    @abstractmethod
    async def memory_bytes(self, digest: Digest) -> int:
        """Memory in bytes that the backend uses for a blob, keys and overhead included.

        Raises:
            BlobNotFoundError: no visible blob has that digest.
        """

    # Health

    @abstractmethod
    async def capacity(self) -> Capacity:
        """Room left."""

    @abstractmethod
    async def safety_problems(self) -> list[str]:
        """Reasons why this backend could lose labels, one actionable line each; [] if safe."""

    async def tend(self) -> None:
        """Do the backend's upkeep between requests; called at intervals.

        Raises:
            StorageError: the upkeep failed this time.
        """
        return
