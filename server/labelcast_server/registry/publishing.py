"""The write side: uploads, validation, tags. Knows no HTTP and no Redis."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import read_artifact
from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    InvalidRequestError,
    ManifestError,
    StoreFullError,
    StoreUnsafeError,
    UploadOffsetError,
)
from labelcast.label_set import (
    Manifest,
    digest_of,
    is_digest,
)
from labelcast.opening.drivers import run_async
from labelcast.opening.parts_from_blobs import (
    open_codec,
    open_context,
    open_index,
    open_records,
    open_report,
)
from labelcast_server.registry.life_cycle import LabelSets
from labelcast_server.store.blob_store import BlobInfo, Capacity, Upload, new_upload_id
from labelcast_server.store.catalog import LabelSetRecord
from labelcast_server.store.store import Store
from labelcast_server.store.verified_reads import read_blob, read_rows, reader

UPLOAD_LIFETIME_SECONDS = 24 * 3600
MAX_BLOB_BYTES = 2**31
MAX_CHUNKS = 2**17
MAX_CHUNK_BYTES = 2**23
# Redis keeps a little beside every chunk, and the append-only file is rewritten now and then.
_STORE_OVERHEAD = 1.05
_APPEND_CHUNKS = 16

ReadChunks = Callable[[str, Sequence[int]], Awaitable[list[bytes]]]


@dataclass(frozen=True, slots=True)
class LabelSetDetails:
    """One label set as the admin API shows it.

    Attributes:
        record: manifest and state.
        tags: that point to it.
        memory_bytes: what the store spends on each blob, by digest.
        codec_name: "raw", "topk", "vqae" …
        report: the fit report; None if there is none.
    """

    record: LabelSetRecord
    tags: tuple[str, ...]
    memory_bytes: dict[str, int]
    codec_name: str
    report: dict[str, Any] | None


class Publisher:
    """Takes uploads, validates label sets and moves tags.

    Args:
        store: durable home.
        allow_unsafe_store: accept a store that could forget what it is given.
    """

    def __init__(self, store: Store, *, allow_unsafe_store: bool = False) -> None:
        self._blobs = store.blobs
        self._catalog = store.catalog
        self._label_sets = LabelSets(store.catalog)
        self._allow_unsafe_store = allow_unsafe_store

    # Uploads

    async def check_capacity(self, required_bytes: int) -> Capacity:
        """Room and safety of the store, before a push begins.

        Raises:
            StoreFullError: not enough room.
            StoreUnsafeError: the store could forget what it is given.
        """
        problems = [] if self._allow_unsafe_store else await self._blobs.safety_problems()
        if problems:
            raise StoreUnsafeError(
                f"the store could lose labels: {'; '.join(problems)}."
                " Change how Redis is set up, or start the service with --allow-unsafe-store",
            )
        capacity = await self._blobs.capacity()
        needed = int(required_bytes * _STORE_OVERHEAD)
        if capacity.headroom_bytes is not None and needed > capacity.headroom_bytes:
            remedy = "free disk space" if capacity.bound == "disk" else "give it more memory"
            raise StoreFullError(
                f"the push needs {needed} bytes and the store has room for"
                f" {capacity.headroom_bytes} ({capacity.bound}); {remedy}",
                required_bytes=needed,
                headroom_bytes=capacity.headroom_bytes,
            )
        return capacity

    async def begin_upload(self, digest: str, size: int, chunk_bytes: int) -> Upload:
        """Open an upload session.

        Raises:
            InvalidRequestError: an impossible digest, size or chunk size.
            StoreFullError, StoreUnsafeError: as `check_capacity`.
        """
        if not is_digest(digest):
            raise InvalidRequestError('digest must be "sha256:" and 64 lower-case hex digits')
        if not 1 <= size <= MAX_BLOB_BYTES:
            raise InvalidRequestError(f"size must be 1 to {MAX_BLOB_BYTES} bytes")
        # Very small chunks would cost the store several times their content.
        if not 1 <= chunk_bytes <= MAX_CHUNK_BYTES or size > chunk_bytes * MAX_CHUNKS:
            raise InvalidRequestError(
                f"chunk_bytes must be 1 to {MAX_CHUNK_BYTES}, in at most {MAX_CHUNKS} chunks a blob"
            )
        await self._blobs.sweep(time.time())
        await self.check_capacity(size)
        upload = Upload(
            upload_id=new_upload_id(),
            blob=BlobInfo(digest, size, chunk_bytes),
            received_bytes=0,
            expires_at=time.time() + UPLOAD_LIFETIME_SECONDS,
        )
        await self._blobs.begin_upload(upload)
        return upload

    async def upload(self, upload_id: str) -> Upload:
        """Where a session stands."""
        return await self._blobs.upload(upload_id)

    async def receive(self, upload_id: str, offset: int, body: AsyncIterator[bytes]) -> Upload:
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
        pending = bytearray()
        async for piece in body:
            pending += piece
            whole = len(pending) // chunk_bytes
            if whole >= _APPEND_CHUNKS:
                upload = await self._append(upload, pending[: whole * chunk_bytes])
                del pending[: whole * chunk_bytes]
        ends_blob = upload.received_bytes + len(pending) >= upload.blob.size
        keep = len(pending) if ends_blob else len(pending) // chunk_bytes * chunk_bytes
        return await self._append(upload, pending[:keep]) if keep else upload

    async def _append(self, upload: Upload, content: bytearray) -> Upload:
        size = upload.blob.chunk_bytes
        chunks = [bytes(content[at : at + size]) for at in range(0, len(content), size)]
        return await self._blobs.append_chunks(
            upload.upload_id, upload.received_bytes // size, chunks
        )

    async def finish_upload(self, upload_id: str, digest: str) -> BlobInfo:
        """Verify the content and make the blob visible.

        Raises:
            DigestMismatchError: the content is not what was announced; the session is dropped.
            UploadOffsetError: bytes are missing.
        """
        upload = await self._blobs.upload(upload_id)
        if upload.blob.digest != digest:
            raise InvalidRequestError(f"the upload is of {upload.blob.digest}, not {digest}")
        if upload.received_bytes == upload.blob.size:
            actual = await self._digest(upload.blob, self._blobs.read_upload_chunks, upload_id)
            if actual != digest:
                await self._blobs.abort_upload(upload_id)
                raise DigestMismatchError(
                    f"the uploaded bytes have digest {actual}, not {digest};"
                    " nothing was kept, upload the blob again",
                    expected=digest,
                    actual=actual,
                )
        return await self._blobs.finish_upload(upload_id)

    async def abort_upload(self, upload_id: str) -> None:
        """Drop a session."""
        await self._blobs.abort_upload(upload_id)

    async def blob(self, digest: str) -> BlobInfo:
        """A visible blob."""
        return await self._blobs.blob(digest)

    # Label sets

    async def stage(self, digest: str, content: bytes) -> LabelSetRecord:
        """Validate a manifest with everything it names, then record the label set.

        Args:
            digest: the identity that the caller computed.
            content: canonical JSON.

        Raises:
            DigestMismatchError, ManifestError, CodecError, LabelcastError: what is wrong; nothing
                is recorded.
        """
        actual = digest_of(content)
        if actual != digest:
            raise DigestMismatchError(
                f"the manifest has digest {actual}, not {digest}; send its exact bytes",
                expected=digest,
                actual=actual,
            )
        manifest = Manifest.from_bytes(content)
        await self._require_blobs(manifest)
        try:
            await self._validate(manifest)
        except (BlobNotFoundError, ChecksumMismatchError, DigestMismatchError) as error:
            await self._drop_if_damaged(error.facts.get("digest") or error.facts.get("expected"))
            raise
        return await self._label_sets.stage(manifest)

    async def _validate(self, manifest: Manifest) -> None:
        read = reader(self._blobs)
        codec = await run_async(open_codec(manifest), read)
        await self._read_report(manifest)
        for number, segment in enumerate(manifest.segments):
            for name, section in segment.sections().items():
                async for rows in read_rows(self._blobs, section):
                    if name == "codes":
                        await asyncio.to_thread(codec.check_rows, rows)
                    elif name == "hard_labels":
                        _check_hard_labels(rows, manifest, number)
        index = await run_async(open_index(manifest), read)
        await run_async(open_context(manifest, index), read)
        records = await run_async(open_records(manifest, index), read)
        if records is not None:
            await asyncio.to_thread(records.check)

    async def _drop_if_damaged(self, digest: str | None) -> None:
        """Make room for a new upload of a blob that nobody can read.

        The blob's own content decides: a manifest may as well name a wrong index for a sound shard.
        """
        try:
            info = await self._blobs.blob(digest or "")
            if await self._digest(info, self._blobs.read_chunks, info.digest) == info.digest:
                return
        except BlobNotFoundError as error:
            if "chunk" not in error.facts:
                return
        except ChecksumMismatchError:
            pass
        await self._blobs.drop_blob(digest or "")

    async def _digest(self, info: BlobInfo, read: ReadChunks, name: str) -> str:
        hasher = hashlib.sha256()
        for start in range(0, info.chunk_count, _APPEND_CHUNKS):
            numbers = range(start, min(start + _APPEND_CHUNKS, info.chunk_count))
            for chunk in await read(name, numbers):
                hasher.update(chunk)
        return "sha256:" + hasher.hexdigest()

    async def publish(self, digest: str, tag: str) -> None:
        """Point a tag to a label set, if the store is still one that keeps it."""
        await self.check_capacity(0)
        await self._label_sets.publish(digest, tag)

    async def retire(self, reference: str) -> None:
        """Take a label set away from its readers."""
        await self._label_sets.retire(await self._catalog.resolve(reference))

    async def label_sets(self) -> list[tuple[LabelSetRecord, tuple[str, ...]]]:
        """Every label set with its tags, oldest first."""
        tags = await self._catalog.tags()
        return [(record, _tags_of(record, tags)) for record in await self._catalog.label_sets()]

    async def inspect(self, reference: str) -> LabelSetDetails:
        """One label set in any state."""
        record = await self._catalog.label_set(await self._catalog.resolve(reference))
        manifest = Manifest.from_bytes(record.manifest)
        memory = {blob: await self._blobs.memory_bytes(blob) for blob in manifest.blobs()}
        artifact = await read_blob(self._blobs, manifest.codec)
        return LabelSetDetails(
            record=record,
            tags=_tags_of(record, await self._catalog.tags()),
            memory_bytes=memory,
            codec_name=(await asyncio.to_thread(read_artifact, artifact)).name,
            report=await self._read_report(manifest),
        )

    async def _read_report(self, manifest: Manifest) -> dict[str, Any] | None:
        if manifest.report is None:
            return None
        return await run_async(open_report(manifest), reader(self._blobs))

    async def _require_blobs(self, manifest: Manifest) -> None:
        for ref in manifest.blobs().values():
            try:
                info = await self._blobs.blob(ref.digest)
            except BlobNotFoundError:
                raise ManifestError(
                    f"the manifest names blob {ref.digest}; upload it first",
                    blob=ref.digest,
                ) from None
            if info.size != ref.size:
                raise ManifestError(f"blob {ref.digest} has {info.size} bytes, not {ref.size}")


def _check_hard_labels(rows: NDArray[np.uint8], manifest: Manifest, number: int) -> None:
    classes = manifest.contract.num_classes
    if np.any(rows.view("<u4") >= np.uint32(classes)):
        raise ManifestError(f"segments[{number}].hard_labels go beyond the {classes} classes")


def _tags_of(record: LabelSetRecord, tags: dict[str, str]) -> tuple[str, ...]:
    return tuple(sorted(tag for tag, digest in tags.items() if digest == record.digest))
