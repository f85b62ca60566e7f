"""Blobs and label sets to put into a store."""

import hashlib
from collections.abc import Sequence

from labelcast.identifiers import Digest, digest_from_hash
from labelcast_server.store.blob_store import BlobInfo, BlobStore, Upload, new_upload_id
from labelcast_server.store.catalog import Catalog, LabelSetRecord, State

NEVER = 4e9


def digest(content: bytes) -> Digest:
    return digest_from_hash(hashlib.sha256(content).digest())


def cut(content: bytes, chunk_bytes: int) -> list[bytes]:
    return [content[at : at + chunk_bytes] for at in range(0, len(content), chunk_bytes)]


def session(content: bytes, chunk_bytes: int = 10, expires_at: float = NEVER) -> Upload:
    blob = BlobInfo(digest(content), len(content), chunk_bytes)
    return Upload(new_upload_id(), blob, 0, expires_at)


async def begin(blobs: BlobStore, content: bytes, chunk_bytes: int = 10) -> Upload:
    upload = session(content, chunk_bytes)
    await blobs.begin_upload(upload)
    return upload


async def push(blobs: BlobStore, content: bytes, chunk_bytes: int = 10) -> BlobInfo:
    upload = await begin(blobs, content, chunk_bytes)
    await blobs.append_chunks(upload.upload_id, 0, cut(content, chunk_bytes))
    return await blobs.finish_upload(upload.upload_id)


async def content_of(blobs: BlobStore, blob: BlobInfo) -> bytes:
    return b"".join(await blobs.read_chunks(blob.digest, range(blob.chunk_count)))


def label_set(name: str, created_at: float = 1.0) -> LabelSetRecord:
    manifest = name.encode()
    return LabelSetRecord(digest(manifest), manifest, State.STAGED, created_at)


async def put(catalog: Catalog, *records: LabelSetRecord) -> Sequence[LabelSetRecord]:
    for record in records:
        await catalog.put_label_set(record)
    return records
