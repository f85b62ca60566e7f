"""Upload sessions: bytes come in ranges, and are visible once their digest is verified."""

import time
from collections.abc import AsyncIterator

from labelcast.errors import DigestMismatchError, InvalidRequestError, UploadOffsetError
from labelcast.identifiers import Digest, UploadId
from labelcast_server.registry.admission import Admission
from labelcast_server.store.blob_store import BlobInfo, BlobStore, Upload, new_upload_id
from labelcast_server.store.verified_reads import stored_digest

UPLOAD_LIFETIME_SECONDS = 24 * 3600
MAX_BLOB_BYTES = 2**31
MAX_CHUNKS = 2**17
MAX_CHUNK_BYTES = 2**23
# What is held of a body before it goes to the store: enough chunks for one round trip.
_APPEND_CHUNKS = 16
_APPEND_BYTES = 2**20


class Uploads:
    """Takes blobs.

    Args:
        blobs: their durable home.
        admission: whether it may be given more.
    """

    def __init__(self, blobs: BlobStore, admission: Admission) -> None:
        self._blobs = blobs
        self._admission = admission

    async def begin(self, digest: Digest, size: int, chunk_bytes: int) -> Upload:
        """Open an upload session.

        Raises:
            InvalidRequestError: an impossible size or chunk size.
            StoreFullError, StoreUnsafeError: as `Admission.check`.
        """
        if not 1 <= size <= MAX_BLOB_BYTES:
            raise InvalidRequestError(f"size must be 1 to {MAX_BLOB_BYTES} bytes")
        # Very small chunks would cost the store several times their content.
        if not 1 <= chunk_bytes <= MAX_CHUNK_BYTES or size > chunk_bytes * MAX_CHUNKS:
            raise InvalidRequestError(
                f"chunk_bytes must be 1 to {MAX_CHUNK_BYTES}, in at most {MAX_CHUNKS} chunks a blob"
            )
        await self._blobs.sweep(time.time())
        await self._admission.check(size)
        upload = Upload(
            upload_id=new_upload_id(),
            blob=BlobInfo(digest, size, chunk_bytes),
            received_bytes=0,
            expires_at=time.time() + UPLOAD_LIFETIME_SECONDS,
        )
        await self._blobs.begin_upload(upload)
        return upload

    async def session(self, upload_id: UploadId) -> Upload:
        """Where a session stands."""
        return await self._blobs.upload(upload_id)

    async def receive(self, upload_id: UploadId, offset: int, body: AsyncIterator[bytes]) -> Upload:
        """Take bytes from `offset` on; only whole chunks are kept.

        A body that breaks off keeps what arrived as whole chunks, so the sender asks where the
        session stands and goes on from there.

        Args:
            upload_id: the session.
            offset: must be where the session stands.
            body: pieces of any size.

        Raises:
            UploadOffsetError: not where the session stands, or more bytes than announced.
        """
        upload = await self._blobs.upload(upload_id)
        chunk_bytes = upload.blob.chunk_bytes
        if offset != upload.received_bytes:
            raise UploadOffsetError(
                f"bytes came from {offset} on, the upload stands at {upload.received_bytes};"
                " go on from there",
                received_bytes=upload.received_bytes,
            )
        enough = min(_APPEND_CHUNKS * chunk_bytes, max(_APPEND_BYTES, chunk_bytes))
        pending = bytearray()
        async for piece in body:
            pending += piece
            if len(pending) >= enough:
                whole = len(pending) // chunk_bytes * chunk_bytes
                upload = await self._append(upload, pending[:whole])
                del pending[:whole]
        ends_blob = upload.received_bytes + len(pending) >= upload.blob.size
        keep = len(pending) if ends_blob else len(pending) // chunk_bytes * chunk_bytes
        return await self._append(upload, pending[:keep]) if keep else upload

    async def _append(self, upload: Upload, content: bytearray) -> Upload:
        size = upload.blob.chunk_bytes
        chunks = [bytes(content[at : at + size]) for at in range(0, len(content), size)]
        return await self._blobs.append_chunks(
            upload.upload_id, upload.received_bytes // size, chunks
        )

    async def finish(self, upload_id: UploadId, digest: str) -> BlobInfo:
        """Verify the content and make the blob visible.

        Raises:
            DigestMismatchError: the content is not what was announced; the session is dropped.
            UploadOffsetError: bytes are missing.
        """
        upload = await self._blobs.upload(upload_id)
        if upload.blob.digest != digest:
            raise InvalidRequestError(f"the upload is of {upload.blob.digest}, not {digest}")
        if upload.received_bytes == upload.blob.size:
            actual = await stored_digest(upload.blob, self._blobs.read_upload_chunks, upload_id)
            if actual != digest:
                await self._blobs.abort_upload(upload_id)
                raise DigestMismatchError(
                    f"the uploaded bytes have digest {actual}, not {digest};"
                    " nothing was kept, upload the blob again",
                    expected=digest,
                    actual=actual,
                )
        return await self._blobs.finish_upload(upload_id)

    async def abort(self, upload_id: UploadId) -> None:
        """Drop a session."""
        await self._blobs.abort_upload(upload_id)

    async def blob(self, digest: Digest) -> BlobInfo:
        """A visible blob."""
        return await self._blobs.blob(digest)
