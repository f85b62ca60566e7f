"""Refusals that every store shares, in the same words."""

from collections.abc import Sequence

from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    InvalidRequestError,
    LabelSetNotFoundError,
    TransitionError,
    UploadNotFoundError,
    UploadOffsetError,
)
from labelcast.identifiers import Digest, Tag, UploadId, is_upload_id
from labelcast_server.store.blob_store import BlobInfo, Upload
from labelcast_server.store.catalog import State


def check_new_upload(upload: Upload) -> None:
    """Refuse a session that no store could keep.

    Raises:
        InvalidRequestError: it has received bytes already, its sizes make no chunks, or a bad ID.
    """
    if upload.received_bytes != 0:
        raise InvalidRequestError("a new upload session has received no bytes yet")
    if upload.blob.size < 0 or upload.blob.chunk_bytes < 1:
        raise InvalidRequestError("a blob needs a size of at least 0 and chunks of at least 1 byte")
    if not is_upload_id(upload.upload_id):
        raise InvalidRequestError("an upload ID has 1 to 64 letters, digits, '-' or '_'")


def received_after(upload: Upload, first_chunk: int, chunks: Sequence[bytes]) -> int:
    """Count the bytes received once `chunks` are appended.

    Raises:
        UploadOffsetError: they do not continue the session, or have wrong sizes.
    """
    blob = upload.blob
    next_chunk = -(-upload.received_bytes // blob.chunk_bytes)
    if first_chunk != next_chunk:
        raise _offset_error(
            upload, f"chunk {first_chunk} is not the next one, which is {next_chunk}"
        )
    if first_chunk + len(chunks) > blob.chunk_count:
        raise _offset_error(upload, f"there are more chunks than the blob's {blob.chunk_count}")
    for number, chunk in enumerate(chunks, first_chunk):
        if len(chunk) != blob.chunk_size(number):
            raise _offset_error(
                upload, f"chunk {number} has {len(chunk)} bytes, not {blob.chunk_size(number)}"
            )
    return upload.received_bytes + sum(map(len, chunks))


def check_complete(upload: Upload) -> None:
    """Refuse to finish a session that lacks bytes.

    Raises:
        UploadOffsetError: `received_bytes` is less than the size.
    """
    if upload.received_bytes != upload.blob.size:
        raise _offset_error(upload, "bytes are missing")


def check_numbers(numbers: Sequence[int], available: int, what: str) -> None:
    """Refuse chunk numbers outside 0 to `available` - 1.

    Raises:
        InvalidRequestError: one is out of range.
    """
    for number in numbers:
        if not 0 <= number < available:
            raise InvalidRequestError(f"{what} has {available} chunks: there is no chunk {number}")


def whole_chunk(blob: BlobInfo, number: int, content: bytes | None) -> bytes:
    """Return what a backend holds for a chunk, if it is the whole chunk.

    Raises:
        BlobNotFoundError: the backend has none.
        ChecksumMismatchError: its size is wrong.
    """
    if content is None:
        raise chunk_gone(blob, number)
    if len(content) != blob.chunk_size(number):
        raise ChecksumMismatchError(
            f"chunk {number} of {blob.digest} is damaged in the store: it has {len(content)} bytes,"
            f" not {blob.chunk_size(number)}; push the label set again",
            digest=blob.digest,
            chunk=number,
        )
    return content


def check_transition(new: State, tag: Tag | None) -> None:
    """Refuse a step that contradicts itself.

    Raises:
        InvalidRequestError: a tag for a label set that is being retired.
    """
    if new is State.RETIRED and tag is not None:
        raise InvalidRequestError("a retired label set cannot have a tag")


def upload_id_from(text: str) -> UploadId:
    """Read an upload ID that somebody sent.

    Raises:
        UploadNotFoundError: it has not the form of one, so no session has it.
    """
    if not is_upload_id(text):
        raise upload_not_found(text)
    return text


def upload_not_found(upload_id: str) -> UploadNotFoundError:
    """The error for an unknown session."""
    return UploadNotFoundError(
        "no such upload session: it is unknown, finished, aborted or expired; begin a new one",
        upload_id=upload_id,
    )


def upload_moved_on(upload: Upload) -> UploadOffsetError:
    """The error when another writer has advanced the session."""
    return _offset_error(upload, "another writer was faster")


def upload_conflict(upload: Upload, number: int) -> DigestMismatchError:
    """The error when two writers sent different bytes for a chunk: one has the wrong blob."""
    return DigestMismatchError(
        f"chunk {number} of this upload was sent before with other bytes; abort it and start over",
        upload_id=upload.upload_id,
        expected=upload.blob.digest,
    )


def blob_not_found(digest: Digest) -> BlobNotFoundError:
    """The error when no visible blob has that digest."""
    return BlobNotFoundError(f"the store has no blob {digest}; push it first", digest=digest)


def chunk_gone(blob: BlobInfo, number: int) -> BlobNotFoundError:
    """The error when a chunk that must exist is missing."""
    return BlobNotFoundError(
        f"chunk {number} of {blob.digest} is gone from the store; push the label set again",
        digest=blob.digest,
        chunk=number,
    )


def label_set_not_found(digest: str) -> LabelSetNotFoundError:
    """The error for an unknown label set."""
    return LabelSetNotFoundError(f"the store has no label set {digest}", digest=digest)


def wrong_state(digest: Digest, actual: str, expected: State) -> TransitionError:
    """The error when a label set is not in the state that the caller expected."""
    return TransitionError(
        f"label set {digest} is {actual}, not {expected}; look at its state and decide again",
        digest=digest,
        state=actual,
        expected=expected,
    )


def _offset_error(upload: Upload, problem: str) -> UploadOffsetError:
    return UploadOffsetError(
        f"{problem}; continue after {upload.received_bytes} of {upload.blob.size} bytes",
        upload_id=upload.upload_id,
        received_bytes=upload.received_bytes,
    )
