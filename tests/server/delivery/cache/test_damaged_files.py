"""Cache files that change behind the service's back: right rows, counted, or a typed error."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.errors import StoreUnavailableError
from labelcast.label_set import Section
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.delivery.cache.scrubber import Scrubber
from tests.server.delivery.cache.counting_blobs import CountingBlobs
from tests.server.delivery.cache.one_shard import ROWS, only_file


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "cache"
    made.mkdir()
    return made


def overwrite(directory: Path, row: int, stride: int) -> None:
    """Turn one row into another one's label: right in form, wrong in content."""
    path = only_file(directory)
    descriptor = os.open(path, os.O_RDWR)
    other = os.pread(descriptor, stride, (row + 1) * stride)
    assert other != os.pread(descriptor, stride, row * stride)
    os.pwrite(descriptor, other, row * stride)
    os.close(descriptor)


@contextlib.asynccontextmanager
async def scrubbing(cache: ChunkCache) -> AsyncIterator[Scrubber]:
    scrubber = Scrubber(cache, round_seconds=0, most_of_a_core=1)
    task = asyncio.create_task(scrubber.run())
    try:
        yield scrubber
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def rounds(scrubber: Scrubber, count: int) -> None:
    until = scrubber.rounds + count
    async with asyncio.timeout(60):
        while scrubber.rounds < until:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)


async def test_a_row_that_was_overwritten_before_this_worker_used_its_chunk(
    blobs: CountingBlobs,
    codes: Section,
    array: NDArray[np.uint8],
    directory: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    everything = np.arange(ROWS)
    await ChunkCache(blobs, CacheDirectory(directory)).gather(codes, everything)
    row = codes.rows_per_chunk + 7
    overwrite(directory, row, codes.stride)

    second = ChunkCache(blobs, CacheDirectory(directory))
    assert np.array_equal(await second.gather(codes, everything), array)
    assert (second.counts.damaged, second.counts.repaired, second.counts.loaded) == (1, 1, 1)
    (line,) = [record.getMessage() for record in caplog.records]
    assert codes.shards[0].data.digest in line
    # Repaired for everyone, in the file itself.
    third = ChunkCache(blobs, CacheDirectory(directory))
    assert np.array_equal(await third.gather(codes, everything), array)
    assert (third.counts.damaged, third.counts.loaded) == (0, 0)


async def test_flags_of_chunks_that_nobody_has_written(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], directory: Path
) -> None:
    await ChunkCache(blobs, CacheDirectory(directory)).gather(codes, np.array([0]))
    path = only_file(directory)
    flags_at = codes.shards[0].data.size + codes.shards[0].index.size
    with path.open("r+b") as file:
        file.seek(flags_at)
        file.write(b"\1" * (path.stat().st_size - flags_at))
    second = ChunkCache(blobs, CacheDirectory(directory))
    assert np.array_equal(await second.gather(codes, np.arange(ROWS)), array)
    assert second.counts.damaged == second.counts.verified - 1


async def test_damage_after_the_check_is_found_by_the_scrubber(
    blobs: CountingBlobs,
    codes: Section,
    array: NDArray[np.uint8],
    directory: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache, everything = ChunkCache(blobs, CacheDirectory(directory)), np.arange(ROWS)
    await cache.gather(codes, everything)
    async with scrubbing(cache) as scrubber:
        await rounds(scrubber, 2)
        assert cache.counts.scrubbed >= cache.verified_chunks()
        assert cache.counts.scrubbed_damaged == 0
        for row in (0, codes.rows_per_chunk * 2):
            overwrite(directory, row, codes.stride)
        await rounds(scrubber, 2)
    assert (cache.counts.scrubbed_damaged, cache.counts.repaired) == (2, 2)
    assert any("damaged" in record.getMessage() for record in caplog.records)
    assert np.array_equal(await cache.gather(codes, everything), array)
    path = only_file(directory)
    assert path.read_bytes()[: array.nbytes] == array.tobytes()


async def test_damage_that_cannot_be_replaced_yet_is_not_delivered(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], directory: Path
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(directory))
    await cache.gather(codes, np.arange(ROWS))
    overwrite(directory, 3, codes.stride)
    await blobs.store.close()
    async with scrubbing(cache) as scrubber:
        await rounds(scrubber, 2)
        with pytest.raises(StoreUnavailableError):
            await cache.gather(codes, np.array([3]))
        beside = np.array([codes.rows_per_chunk])
        assert np.array_equal(await cache.gather(codes, beside), array[beside])
    blobs._connection._closed = False
    assert np.array_equal(await cache.gather(codes, np.arange(ROWS)), array)


@pytest.mark.parametrize("size", [0, 5, 70_000, None])
async def test_a_file_that_was_cut_or_removed_while_in_use(
    blobs: CountingBlobs,
    codes: Section,
    array: NDArray[np.uint8],
    directory: Path,
    size: int | None,
) -> None:
    caches, everything = (
        [ChunkCache(blobs, CacheDirectory(directory)) for _ in range(2)],
        np.arange(ROWS)[::-1],
    )
    for cache in caches:
        assert np.array_equal(await cache.gather(codes, everything), array[everything])
    path = only_file(directory)
    if size is None:
        path.unlink()
    else:
        os.truncate(path, size)
    for cache in (*caches, ChunkCache(blobs, CacheDirectory(directory))):
        assert np.array_equal(await cache.gather(codes, everything), array[everything])


async def test_a_file_that_was_cut_is_restored_by_the_scrubber_too(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], directory: Path
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(directory))
    await cache.gather(codes, np.arange(ROWS))
    path = only_file(directory)
    whole = path.read_bytes()
    os.truncate(path, 0)
    async with scrubbing(cache) as scrubber:
        await rounds(scrubber, 2)
    assert cache.counts.dropped_files == 1
    assert len(path.read_bytes()) == len(whole)
    assert np.array_equal(await cache.gather(codes, np.arange(ROWS)), array)


async def test_chunks_that_many_tasks_need_are_checked_once(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], directory: Path
) -> None:
    await ChunkCache(blobs, CacheDirectory(directory)).gather(codes, np.arange(ROWS))
    cache, rows = (
        ChunkCache(blobs, CacheDirectory(directory)),
        np.random.default_rng(0).permutation(ROWS),
    )
    for packed in await asyncio.gather(*(cache.gather(codes, rows) for _ in range(8))):
        assert np.array_equal(packed, array[rows])
    assert cache.counts.verified == cache.verified_chunks() == len(cache_chunks(codes))
    assert cache.counts.loaded == 0


def cache_chunks(section: Section) -> range:
    return range(-(-section.rows // section.rows_per_chunk))


async def test_nobody_writes_through_the_mapping(
    blobs: CountingBlobs, codes: Section, directory: Path
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(directory))
    await cache.gather(codes, np.array([0]))
    (cached,) = cache.shards_with_files()
    assert cached.file is not None
    assert not cached.file.data.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        cached.file.data.flags.writeable = True
