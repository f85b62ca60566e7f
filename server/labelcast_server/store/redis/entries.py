"""Values of the control keys.

Identifiers were checked before they were stored, and are taken as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from labelcast.identifiers import Digest, Tag, UploadId
from labelcast_server.store.blob_store import BlobInfo, Upload


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A visible blob and where its chunks lie."""

    info: BlobInfo
    data_id: UploadId


@dataclass(frozen=True, slots=True)
class Garbage:
    """Chunks of a session that no longer exists.

    Kept until the session would have expired, and then dropped again: a slow writer may have
    written chunks after the session was aborted and its chunks were dropped.
    """

    data_id: UploadId
    chunk_count: int
    expires_at: float


def session_value(upload: Upload) -> bytes:
    """Encode a session."""
    return _json(
        digest=upload.blob.digest,
        size=upload.blob.size,
        chunk_bytes=upload.blob.chunk_bytes,
        received=upload.received_bytes,
        expires_at=upload.expires_at,
    )


def session_from(upload_id: UploadId, value: bytes) -> Upload:
    """Decode what `session_value` wrote."""
    fields = json.loads(value)
    return Upload(
        upload_id=upload_id,
        blob=BlobInfo(fields["digest"], fields["size"], fields["chunk_bytes"]),
        received_bytes=fields["received"],
        expires_at=fields["expires_at"],
    )


def sessions_from(fields: Mapping[str, bytes]) -> list[Upload]:
    """Every session: upload IDs with what `session_value` wrote."""
    return [session_from(UploadId(upload_id), value) for upload_id, value in fields.items()]


def blob_value(upload: Upload) -> bytes:
    """Encode a blob once its session is finished."""
    return _json(data=upload.upload_id, size=upload.blob.size, chunk_bytes=upload.blob.chunk_bytes)


def blob_from(digest: Digest, value: bytes) -> StoredBlob:
    """Decode what `blob_value` wrote."""
    fields = json.loads(value)
    return StoredBlob(BlobInfo(digest, fields["size"], fields["chunk_bytes"]), fields["data"])


def garbage_value(upload: Upload) -> bytes:
    """Encode the chunks of a session, to be remembered until they are surely gone."""
    return _json(chunks=upload.blob.chunk_count, expires_at=upload.expires_at)


def dropped_blob_value(info: BlobInfo) -> bytes:
    """Encode the chunks of a dropped blob, to which nobody writes any more."""
    return _json(chunks=info.chunk_count, expires_at=0)


def garbage_from(data_id: str, value: bytes) -> Garbage:
    """Decode what `garbage_value` wrote."""
    fields = json.loads(value)
    return Garbage(UploadId(data_id), fields["chunks"], fields["expires_at"])


def tags_from(fields: Mapping[str, bytes]) -> dict[Tag, Digest]:
    """Every tag with where it points."""
    return {Tag(tag): Digest(digest.decode()) for tag, digest in fields.items()}


def _json(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
