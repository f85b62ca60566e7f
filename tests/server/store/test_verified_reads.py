"""Blobs, columns and indices from the store: verified, or a typed error."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    ManifestError,
)
from labelcast.identifiers import Digest
from labelcast.label_set import BlobRef, RowOrder, Section, digest_of
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast.opening.drivers import run_async
from labelcast.opening.parts_from_blobs import open_index
from labelcast_server.store.memory import MemoryBlobs, memory_store
from labelcast_server.store.store import Store
from labelcast_server.store.verified_reads import (
    read_blob,
    read_chunk_index,
    read_rows,
    reader,
)
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import push, upload

CONTENT = bytes(range(256)) * 20
REF = BlobRef(digest_of(CONTENT), len(CONTENT))


async def stored(content: bytes = CONTENT, *, chunk_bytes: int = 100) -> Store:
    store = memory_store()
    await upload(store, digest_of(content), content, chunk_bytes)
    return store


def chunks(store: Store, digest: Digest) -> list[Any]:
    assert isinstance(store.blobs, MemoryBlobs)
    return store.blobs._blobs[digest][1]


@pytest.mark.parametrize("chunk_bytes", [1000, len(CONTENT), len(CONTENT) + 1, 50])
async def test_a_blob_comes_whole_whatever_its_chunks(chunk_bytes: int) -> None:
    assert await read_blob((await stored(chunk_bytes=chunk_bytes)).blobs, REF) == CONTENT


async def test_a_blob_of_another_size_than_announced_is_refused() -> None:
    for size in (REF.size - 1, REF.size + 1):
        with pytest.raises(DigestMismatchError, match=f"says {size}"):
            await read_blob((await stored()).blobs, BlobRef(REF.digest, size))


async def test_a_damaged_blob_is_refused() -> None:
    store = await stored()
    chunks(store, REF.digest)[40] = bytes(100)
    with pytest.raises(DigestMismatchError, match="; fetch or upload it again"):
        await read_blob(store.blobs, REF)


async def column(store: Store, section: Section, dtype: str) -> NDArray[Any]:
    return np.concatenate([rows async for rows in read_rows(store.blobs, section)]).view(dtype)[
        :, 0
    ]


async def test_a_blob_that_nobody_pushed_is_refused() -> None:
    with pytest.raises(BlobNotFoundError):
        await read_blob(memory_store().blobs, REF)


@pytest.mark.parametrize("row_order", RowOrder)
async def test_sections_and_indices_are_those_of_the_label_set(
    tmp_path: Path, row_order: RowOrder
) -> None:
    label_set, _ = make_label_set(
        tmp_path, num_samples=9000, num_seeds=3, row_order=row_order, shard_bytes=70_000
    )
    store = memory_store()
    await push(store, label_set)
    (segment,) = label_set.manifest.segments
    blocks = [block async for block in read_rows(store.blobs, segment.codes)]
    index = await run_async(open_index(label_set.manifest), reader(store.blobs))
    views = label_set.segment_index(segment).views()
    assert np.array_equal(np.concatenate(blocks), label_set.gather(views))
    (read,), (written,) = index.segments, label_set.index().segments
    assert read.row_order is row_order
    assert (read.sample_ids.dtype, read.seeds.dtype) == (np.dtype("u8"), np.dtype("u4"))
    assert np.array_equal(read.sample_ids, written.sample_ids)
    assert np.array_equal(read.seeds, written.seeds)
    ids = await column(store, segment.sample_ids, "<u8")
    assert np.array_equal(ids, label_set.column(segment.sample_ids, "<u8"))


def small_section(directory: Path, *columns: tuple[Any, str]) -> list[Section]:
    writer = LabelSetDirectoryWriter(directory)
    return [writer.add_column(values, dtype) for values, dtype in columns]


async def test_two_columns_may_be_one_blob(tmp_path: Path) -> None:
    """Sample ID 2**32 and the seeds 0 and 1 are the same eight bytes."""
    ids, seeds = small_section(tmp_path, ([2**32], "<u8"), ([0, 1], "<u4"))
    assert ids.shards[0].data == seeds.shards[0].data
    for first in (ids, seeds):
        store = memory_store()
        for ref in dict.fromkeys([*ids.blobs(), *seeds.blobs()]):
            content = (tmp_path / "blobs" / ref.digest.replace(":", "-")).read_bytes()
            await upload(store, ref.digest, content, first.chunk_bytes)
        assert (await column(store, ids, "<u8")).tolist() == [2**32]
        assert (await column(store, seeds, "<u4")).tolist() == [0, 1]


@pytest.fixture
async def pushed(tmp_path: Path) -> tuple[Store, LabelSetDirectory]:
    label_set, _ = make_label_set(tmp_path, num_samples=9000, num_seeds=1)
    store = memory_store()
    await push(store, label_set)
    return store, label_set


async def test_a_damaged_chunk_is_named(pushed: tuple[Store, LabelSetDirectory]) -> None:
    store, label_set = pushed
    codes = label_set.manifest.segments[0].codes
    shard = codes.shards[0].data.digest
    damaged = chunks(store, shard)
    damaged[2] = bytes(len(damaged[2]))
    with pytest.raises(ChecksumMismatchError) as caught:
        _ = [block async for block in read_rows(store.blobs, codes)]
    assert caught.value.facts == {"digest": shard, "chunk": "2"}


async def test_a_damaged_chunk_index_is_found(pushed: tuple[Store, LabelSetDirectory]) -> None:
    store, label_set = pushed
    shard = label_set.manifest.segments[0].codes.shards[0]
    assert (await read_chunk_index(store.blobs, shard)).shape == (3,)
    chunks(store, shard.index.digest)[0] = bytes(shard.index.size)
    with pytest.raises(DigestMismatchError):
        await read_chunk_index(store.blobs, shard)


@pytest.mark.parametrize(
    ("ids", "seeds"), [([2, 1], [0]), ([1, 1], [0]), ([1, 2], [3, 3])], ids=str
)
async def test_tables_that_do_not_increase_are_refused(
    tmp_path: Path, ids: list[int], seeds: list[int]
) -> None:
    label_set, _ = make_label_set(tmp_path / "good", num_samples=len(ids), num_seeds=len(seeds))
    (segment,) = label_set.manifest.segments
    bad_ids, bad_seeds = small_section(label_set.directory, (ids, "<u8"), (seeds, "<u4"))
    store = memory_store()
    for section in (bad_ids, bad_seeds):
        for ref in section.blobs():
            await upload(store, ref.digest, label_set.read_blob(ref), section.chunk_bytes)
    changed = replace(segment, sample_ids=bad_ids, seeds=bad_seeds)
    with pytest.raises(ManifestError, match="strictly increasing"):
        await run_async(
            open_index(replace(label_set.manifest, segments=(changed,))), reader(store.blobs)
        )
