"""Reading whole blobs and sections from the store, verified."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.context.view import ViewContext, derive_context
from labelcast.errors import DigestMismatchError, ManifestError
from labelcast.label_set import (
    BlobRef,
    Manifest,
    Section,
    Shard,
    ViewIndex,
    check_chunk,
    check_digest,
    index_of,
    table_sections,
)
from labelcast.label_set.recorded_views import ViewRecords, read_records, record_sections
from labelcast_server.store.base import BlobInfo, Store

_CHUNKS_A_READ = 32


async def read_blob(store: Store, ref: BlobRef) -> bytes:
    """A small blob whole: codec, report, chunk index.

    Raises:
        BlobNotFoundError: the store lacks it.
        DigestMismatchError: it is damaged.
    """
    info = await store.blob(ref.digest)
    if info.size != ref.size:
        raise DigestMismatchError(
            f"blob {ref.digest} has {info.size} bytes, the manifest says {ref.size}; push it again"
        )
    parts = []
    for start in range(0, info.chunk_count, _CHUNKS_A_READ):
        numbers = range(start, min(start + _CHUNKS_A_READ, info.chunk_count))
        parts += await store.read_chunks(ref.digest, numbers)
    content = b"".join(parts)
    check_digest(content, ref.digest, f"blob {ref.digest}")
    return content


async def read_chunk_index(store: Store, shard: Shard) -> NDArray[np.uint32]:
    """CRC-32 of every chunk of a shard."""
    return np.frombuffer(await read_blob(store, shard.index), dtype="<u4")


async def shard_blob(store: Store, section: Section, shard: Shard) -> BlobInfo:
    """How the store holds a shard.

    Raises:
        BlobNotFoundError: it does not.
        ManifestError: in other chunks than the manifest says.
    """
    info = await store.blob(shard.data.digest)
    # Two small columns may be one blob: what fits one chunk lies the same either way.
    one_chunk = info.size <= min(info.chunk_bytes, section.chunk_bytes)
    if info.size != shard.data.size or not (info.chunk_bytes == section.chunk_bytes or one_chunk):
        raise ManifestError(
            f"shard {info.digest} is stored as {info.size} bytes in chunks of {info.chunk_bytes},"
            f" not {shard.data.size} in {section.chunk_bytes}; upload it again"
        )
    return info


async def read_rows(store: Store, section: Section) -> AsyncIterator[NDArray[np.uint8]]:
    """All rows of a section in order, a few chunks at a time, each checked against its index.

    Yields:
        uint8, shape (n, stride).

    Raises:
        ManifestError: a shard was stored in other chunks than the manifest says.
        ChecksumMismatchError: a chunk is damaged.
    """
    for shard in section.shards:
        info = await shard_blob(store, section, shard)
        index = await read_chunk_index(store, shard)
        for start in range(0, info.chunk_count, _CHUNKS_A_READ):
            numbers = range(start, min(start + _CHUNKS_A_READ, info.chunk_count))
            chunks = await store.read_chunks(info.digest, numbers)
            for number, chunk in zip(numbers, chunks, strict=True):
                check_chunk(chunk, index, number, info.digest)
            yield np.frombuffer(b"".join(chunks), dtype=np.uint8).reshape(-1, section.stride)


async def read_column(store: Store, section: Section, dtype: str) -> NDArray[Any]:
    """A whole section of one integer a row, such as sample IDs."""
    rows = [block async for block in read_rows(store, section)]
    return np.concatenate(rows).view(dtype)[:, 0]


async def read_context(store: Store, manifest: Manifest, index: ViewIndex) -> ViewContext | None:
    """What both ends know of the views of a label set; None where its codec needs none.

    `Manifest.require_codec` has seen to it that all segments share the tables of the first.

    Raises:
        ManifestError: another context is derived here than where the label set was made.
    """
    hard_labels = manifest.segments[0].hard_labels
    if manifest.contract.context is None or hard_labels is None:
        return None
    column = await read_column(store, hard_labels, "<u4")
    return derive_context(manifest.contract, index.segments[0], column)


async def read_view_index(store: Store, manifest: Manifest) -> ViewIndex:
    """The sample and seed tables of a label set, and which rows it has.

    Raises:
        ManifestError: tables that are not increasing, or segments that overlap.
    """
    parts = []
    for segment in manifest.segments:
        rows = await _whole(store, table_sections(segment))
        parts.append(await asyncio.to_thread(index_of, segment, rows.__getitem__))
    return ViewIndex(parts)


async def read_view_records(
    store: Store, manifest: Manifest, index: ViewIndex
) -> ViewRecords | None:
    """The recorded views of a label set; None where it has none.

    Raises:
        ManifestError: a mix that is none.
    """
    sections = [part for segment in manifest.segments for part in record_sections(segment)]
    rows = await _whole(store, sections)
    return read_records(manifest.contract, manifest.segments, index, rows.__getitem__)


async def _whole(store: Store, sections: Sequence[Section]) -> dict[Section, NDArray[np.uint8]]:
    return {
        section: np.concatenate([block async for block in read_rows(store, section)])
        for section in sections
    }
