"""Everything that a manifest names is in the store and says what it must."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.latent import HeadHasher
from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    ManifestError,
)
from labelcast.identifiers import Digest, is_digest
from labelcast.label_set import BlobRef, Manifest, Section, Shard
from labelcast.label_set.fingerprints import FingerprintKind
from labelcast.label_set.segment import LENGTHS_PART
from labelcast.opening.drivers import run_async
from labelcast.opening.parts_from_blobs import (
    open_codec,
    open_context,
    open_control_views,
    open_fingerprints,
    open_index,
    open_records,
    open_report,
    open_sites,
)
from labelcast_server.store.blob_store import BlobStore
from labelcast_server.store.verified_reads import (
    read_blob,
    read_rows,
    read_shard,
    reader,
    stored_digest,
)

# Sections that openings ask for; any that is missing here would merely be read twice.
_TABLES = {"sample_ids", "seeds", "presence", "records", "mixes", f"parts.{LENGTHS_PART}"} | {
    f"parts.{kind.part}" for kind in FingerprintKind
}


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
    named = await asyncio.to_thread(manifest.blobs)
    for ref in named.values():
        try:
            info = await blobs.blob(ref.digest)
        except BlobNotFoundError:
            raise ManifestError(
                f"the manifest names blob {ref.digest}; upload it first",
                blob=ref.digest,
            ) from None
        if info.size != ref.size:
            says = f"blob {ref.digest} has {info.size} bytes, not {ref.size}"
            if await _drop_if_damaged(blobs, ref.digest):
                raise DigestMismatchError(f"{says}; push the label set again", expected=ref.digest)
            raise ManifestError(says)


async def _validate(blobs: BlobStore, manifest: Manifest) -> None:
    codec = await run_async(open_codec(manifest), reader(blobs))
    await run_async(open_report(manifest), reader(blobs))
    await run_async(open_sites(manifest), reader(blobs))
    tables = _Tables(blobs)
    tables_of_context = {"hard_labels"} if manifest.contract.context is not None else set[str]()
    for number, segment in enumerate(manifest.segments):
        for name, section in segment.sections().items():
            opened = name in _TABLES | tables_of_context
            async for rows in tables.rows(section) if opened else read_rows(blobs, section):
                if name == "codes":
                    await asyncio.to_thread(codec.check_rows, rows)
                elif name == "hard_labels":
                    await asyncio.to_thread(_check_hard_labels, rows, manifest, number)
    index = await run_async(open_index(manifest), tables.blob)
    await run_async(open_context(manifest, index), tables.blob)
    await run_async(open_fingerprints(manifest, index), tables.blob)
    await run_async(open_control_views(manifest, index), tables.blob)
    await _check_head(blobs, manifest)
    records = await run_async(open_records(manifest, index), tables.blob)
    if records is not None:
        await asyncio.to_thread(records.check)


class _Tables:
    """What a segment is opened with: checked shard by shard, and read once for both."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._kept: dict[Digest, bytes] = {}
        self._checked: set[tuple[Shard, int]] = set()

    async def rows(self, section: Section) -> AsyncIterator[NDArray[np.uint8]]:
        """Rows of a section, a shard at a time: uint8, shape (n, stride)."""
        for shard in section.shards:
            # Segments may share a table, and two tables a shard under different indices.
            if (shard, section.chunk_bytes) not in self._checked:
                self._kept[shard.data.digest] = await read_shard(self._blobs, section, shard)
                self._checked.add((shard, section.chunk_bytes))
            content = self._kept[shard.data.digest]
            yield np.frombuffer(content, dtype=np.uint8).reshape(-1, section.stride)

    async def blob(self, ref: BlobRef) -> bytes:
        """For an opening: what was kept, and is given away so that nobody holds it any longer."""
        content = self._kept.pop(ref.digest, None)
        return await read_blob(self._blobs, ref) if content is None else content


async def _check_head(blobs: BlobStore, manifest: Manifest) -> None:
    """Refuse a shipped head that is not the one that the contract names; it may be a gigabyte."""
    language = manifest.contract.language
    spec = None if language is None else language.head
    if manifest.head is None or spec is None:
        return
    hasher = HeadHasher(manifest.head.rows, spec.width, spec.dtype, bias=spec.bias)
    async for rows in read_rows(blobs, manifest.head):
        await asyncio.to_thread(hasher.add, rows)
    if (found := hasher.digest()) != spec.digest:
        raise ManifestError(f"the shipped head is {found}, the contract names {spec.digest}")


def _check_hard_labels(rows: NDArray[np.uint8], manifest: Manifest, number: int) -> None:
    classes = manifest.contract.num_classes
    if np.any(rows.view("<u4") >= np.uint32(classes)):
        raise ManifestError(f"segments[{number}].hard_labels go beyond the {classes} classes")


async def _drop_if_damaged(blobs: BlobStore, digest: str | None) -> bool:
    """Make room for a new upload of a blob that nobody can read; whether it was one.

    The blob's own content decides: a manifest may as well name a wrong index for a sound shard.
    """
    if digest is None or not is_digest(digest):
        return False
    try:
        info = await blobs.blob(digest)
        if await stored_digest(info, blobs.read_chunks, digest) == digest:
            return False
    except BlobNotFoundError as error:
        if "chunk" not in error.facts:
            return False
    except ChecksumMismatchError:
        pass
    await blobs.drop_blob(digest)
    return True
