"""Everything that a manifest names is in the store and says what it must."""

import asyncio

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    ManifestError,
)
from labelcast.label_set import Manifest
from labelcast.opening.drivers import run_async
from labelcast.opening.parts_from_blobs import (
    open_codec,
    open_context,
    open_index,
    open_records,
    open_report,
)
from labelcast_server.store.blob_store import BlobStore
from labelcast_server.store.verified_reads import read_rows, reader, stored_digest


async def validate(blobs: BlobStore, manifest: Manifest) -> None:
    """Refuse a label set of which anything is missing, damaged or contradictory.

    Raises:
        ManifestError, CodecError, LabelcastError: what is wrong. Blobs that turned out damaged are
            dropped, so that they can be uploaded again.
    """
    await _require_blobs(blobs, manifest)
    try:
        await _validate(blobs, manifest)
    except (BlobNotFoundError, ChecksumMismatchError, DigestMismatchError) as error:
        await _drop_if_damaged(blobs, error.facts.get("digest") or error.facts.get("expected"))
        raise


async def _require_blobs(blobs: BlobStore, manifest: Manifest) -> None:
    for ref in manifest.blobs().values():
        try:
            info = await blobs.blob(ref.digest)
        except BlobNotFoundError:
            raise ManifestError(
                f"the manifest names blob {ref.digest}; upload it first",
                blob=ref.digest,
            ) from None
        if info.size != ref.size:
            raise ManifestError(f"blob {ref.digest} has {info.size} bytes, not {ref.size}")


async def _validate(blobs: BlobStore, manifest: Manifest) -> None:
    read = reader(blobs)
    codec = await run_async(open_codec(manifest), read)
    await run_async(open_report(manifest), read)
    for number, segment in enumerate(manifest.segments):
        for name, section in segment.sections().items():
            async for rows in read_rows(blobs, section):
                if name == "codes":
                    await asyncio.to_thread(codec.check_rows, rows)
                elif name == "hard_labels":
                    _check_hard_labels(rows, manifest, number)
    index = await run_async(open_index(manifest), read)
    await run_async(open_context(manifest, index), read)
    records = await run_async(open_records(manifest, index), read)
    if records is not None:
        await asyncio.to_thread(records.check)


def _check_hard_labels(rows: NDArray[np.uint8], manifest: Manifest, number: int) -> None:
    classes = manifest.contract.num_classes
    if np.any(rows.view("<u4") >= np.uint32(classes)):
        raise ManifestError(f"segments[{number}].hard_labels go beyond the {classes} classes")


async def _drop_if_damaged(blobs: BlobStore, digest: str | None) -> None:
    """Make room for a new upload of a blob that nobody can read.

    The blob's own content decides: a manifest may as well name a wrong index for a sound shard.
    """
    try:
        info = await blobs.blob(digest or "")
        if await stored_digest(info, blobs.read_chunks, info.digest) == info.digest:
            return
    except BlobNotFoundError as error:
        if "chunk" not in error.facts:
            return
    except ChecksumMismatchError:
        pass
    await blobs.drop_blob(digest or "")
