"""The chunk cache over a store: any rows, in any order, from anyone's files, or a typed error."""

import asyncio
import gc
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    ManifestError,
    StoreUnavailableError,
)
from labelcast.label_set import Section
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_server.delivery.cache.bounds import Bounds
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.delivery.cache.shard_file import ShardFile
from labelcast_server.store.disk import Disk
from labelcast_server.store.memory import (
    memory_store,
)
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import upload
from tests.server.delivery.cache.counting_blobs import CountingBlobs

SAMPLES, SEEDS = 8000, 3
ROWS = SAMPLES * SEEDS


@pytest.fixture(scope="module")
def label_set(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    directory = tmp_path_factory.mktemp("label-set")
    made, _ = make_label_set(directory, num_samples=SAMPLES, num_seeds=SEEDS, shard_bytes=140_000)
    return made


@pytest.fixture
def codes(label_set: LabelSetDirectory) -> Section:
    section = label_set.manifest.segments[0].codes
    assert len(section.shards) == 4
    assert section.rows == ROWS
    return section


@pytest.fixture(scope="module")
def array(label_set: LabelSetDirectory) -> NDArray[np.uint8]:
    section = label_set.manifest.segments[0].codes
    whole = b"".join(label_set.read_blob(shard.data) for shard in section.shards)
    return np.frombuffer(whole, np.uint8).reshape(ROWS, -1)


async def test_random_rows_over_several_shards(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    cache, rng = ChunkCache(blobs, CacheDirectory(tmp_path)), np.random.default_rng(0)
    for count in (1, 2, 7, 100, 5000, 1, 0):
        rows = rng.integers(ROWS, size=count)
        packed = await cache.gather(codes, rows)
        assert np.array_equal(packed, array[rows])
        packed[:] = 0  # its own memory: the cache must not see this
    assert np.array_equal(await cache.gather(codes, np.arange(ROWS)[::-1]), array[::-1])
    assert len(blobs.read) == len(set(blobs.read))


async def test_the_first_and_last_row_of_every_shard(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    ends = np.cumsum([shard.rows for shard in codes.shards])
    rows = np.sort(np.concatenate([ends - 1, [0], ends[:-1]]))[::-1]
    assert np.array_equal(
        await ChunkCache(blobs, CacheDirectory(tmp_path)).gather(codes, rows), array[rows]
    )


async def test_a_row_costs_its_chunk_and_nothing_else(
    blobs: CountingBlobs, codes: Section, tmp_path: Path
) -> None:
    cache, data = ChunkCache(blobs, CacheDirectory(tmp_path)), codes.shards[1].data.digest
    row = np.array([codes.shards[0].rows + codes.rows_per_chunk])
    await cache.gather(codes, row)
    assert [number for digest, number in blobs.read if digest == data] == [1]
    before = len(blobs.read)
    await cache.gather(codes, row)
    assert len(blobs.read) == before


async def test_many_tasks_read_a_chunk_once(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    cache, rng = ChunkCache(blobs, CacheDirectory(tmp_path)), np.random.default_rng(1)
    wanted = [rng.integers(ROWS, size=200) for _ in range(20)]
    for rows, packed in zip(
        wanted, await asyncio.gather(*(cache.gather(codes, rows) for rows in wanted)), strict=True
    ):
        assert np.array_equal(packed, array[rows])
    assert len(blobs.read) == len(set(blobs.read))


class WatchedFile(ShardFile):
    """Remembers which threads have taken rows."""

    threads: set[int]

    def take(self, stride: int, rows: NDArray[np.int64]) -> NDArray[np.uint8] | None:
        self.threads.add(threading.get_ident())
        return super().take(stride, rows)


async def test_a_large_gather_leaves_the_loop_alone(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(tmp_path))
    await cache.gather(codes, np.arange(ROWS))
    loop, threads = threading.get_ident(), set[int]()
    for cached in cache.shards_with_files():
        file = WatchedFile.open(CacheDirectory(tmp_path), codes, cached.shard)
        assert file is not None
        cached.file, file.threads = file, threads
        assert not file.check(range(len(cached.checksums)))
    for rows, on_the_loop in (
        (np.array([3]), True),
        (np.random.default_rng(5).integers(ROWS, size=131), True),
        (np.random.default_rng(5).permutation(ROWS), False),
    ):
        threads.clear()
        assert np.array_equal(await cache.gather(codes, rows), array[rows])
        assert (loop in threads) is on_the_loop
        assert len(threads) == 1


async def test_a_cancelled_request_spoils_nothing(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    cache, rows = ChunkCache(blobs, CacheDirectory(tmp_path)), np.arange(ROWS)
    for steps in range(12):
        task = asyncio.create_task(cache.gather(codes, rows))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert np.array_equal(await cache.gather(codes, rows), array)


async def test_a_second_worker_uses_the_files_of_the_first(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    rows = np.arange(ROWS)
    await ChunkCache(blobs, CacheDirectory(tmp_path)).gather(codes, rows)
    shards = {shard.data.digest for shard in codes.shards}
    blobs.read.clear()
    second = ChunkCache(blobs, CacheDirectory(tmp_path))
    assert np.array_equal(await second.gather(codes, rows), array)
    assert not shards & {digest for digest, _ in blobs.read}


async def test_two_workers_fill_one_directory_together(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    workers = [ChunkCache(blobs, CacheDirectory(tmp_path)) for _ in range(3)]
    rng = np.random.default_rng(2)
    for _ in range(10):
        rows = rng.integers(ROWS, size=3)
        for packed in await asyncio.gather(*(each.gather(codes, rows) for each in workers)):
            assert np.array_equal(packed, array[rows])


async def test_a_damaged_chunk_is_never_served(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    shard = codes.shards[2]
    chunks, first = blobs.chunks(shard.data.digest), 2 * codes.shards[0].rows
    whole = chunks[1]
    chunks[1] = whole[:-1] + bytes([whole[-1] ^ 1])
    cache = ChunkCache(blobs, CacheDirectory(tmp_path))
    beside, within = np.array([first]), np.array([first, first + codes.rows_per_chunk])
    for _ in range(2):
        with pytest.raises(ChecksumMismatchError) as caught:
            await cache.gather(codes, within)
        assert caught.value.facts == {"digest": shard.data.digest, "chunk": "1"}
    with pytest.raises(ChecksumMismatchError):
        await ChunkCache(blobs, CacheDirectory(tmp_path)).gather(codes, within)
    assert np.array_equal(await cache.gather(codes, beside), array[beside])
    chunks[1] = whole
    assert np.array_equal(await cache.gather(codes, within), array[within])


@pytest.mark.parametrize("lost", [None, b"", b"short"])
async def test_a_lost_chunk_is_a_typed_error(
    blobs: CountingBlobs, codes: Section, tmp_path: Path, lost: bytes | None
) -> None:
    blobs.chunks(codes.shards[0].data.digest)[0] = lost
    with pytest.raises((BlobNotFoundError, ChecksumMismatchError)):
        await ChunkCache(blobs, CacheDirectory(tmp_path)).gather(codes, np.array([0]))


@pytest.mark.parametrize("part", ["data", "index"])
async def test_a_lost_blob_is_a_typed_error(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path, part: str
) -> None:
    lost = blobs._blobs.pop(getattr(codes.shards[0], part).digest)
    cache = ChunkCache(blobs, CacheDirectory(tmp_path))
    with pytest.raises(BlobNotFoundError):
        await cache.gather(codes, np.array([0]))
    blobs._blobs[lost[0].digest] = lost
    assert np.array_equal(await cache.gather(codes, np.array([0])), array[:1])


async def test_a_store_that_went_away_still_leaves_what_is_cached(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(tmp_path))
    await cache.gather(codes, np.array([0]))
    await blobs.store.close()
    assert np.array_equal(await cache.gather(codes, np.array([1])), array[1:2])
    with pytest.raises(StoreUnavailableError):
        await cache.gather(codes, np.array([codes.rows_per_chunk]))


async def test_a_shard_in_other_chunks_is_refused(
    label_set: LabelSetDirectory, codes: Section, tmp_path: Path
) -> None:
    store = memory_store()
    for ref in codes.blobs():
        await upload(store, ref.digest, label_set.read_blob(ref), 1000)
    with pytest.raises(ManifestError, match="push the label set again"):
        await ChunkCache(store.blobs, CacheDirectory(tmp_path)).gather(codes, np.array([0]))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB: room for one shard and no second one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield disk
    gc.collect()
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)


async def test_rows_come_from_the_store_where_there_is_no_room_for_a_file(
    blobs: CountingBlobs,
    codes: Section,
    array: NDArray[np.uint8],
    tiny_disk: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(tiny_disk, Bounds(limit_bytes=2**30)), retry_seconds=0)
    assert np.array_equal(await cache.gather(codes, np.array([0])), array[:1])
    everything = np.random.default_rng(4).permutation(ROWS)
    for _ in range(2):
        assert np.array_equal(await cache.gather(codes, everything), array[everything])
    assert np.array_equal(await cache.gather(codes, everything[:0]), array[:0])
    assert cache.counts.direct > 0
    # Once, and not for every request or shard.
    (line,) = [record.getMessage() for record in caplog.records]
    assert "free some, raise LABELCAST_CACHE_MIB, or set LABELCAST_CACHE_DIR to a larger" in line

    (tmp_path / "larger").mkdir()
    larger = ChunkCache(blobs, CacheDirectory(tmp_path / "larger"))
    assert np.array_equal(await larger.gather(codes, everything), array[everything])
    assert len(larger.shards_with_files()) == len(codes.shards)
    enlarge(tiny_disk)
    assert np.array_equal(await cache.gather(codes, everything), array[everything])
    direct = cache.counts.direct
    assert np.array_equal(await cache.gather(codes, everything), array[everything])
    assert cache.counts.direct == direct
    assert len(cache.shards_with_files()) == len(codes.shards)


async def test_a_chunk_that_is_damaged_in_the_store_is_refused_without_a_file_too(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], tmp_path: Path
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(tmp_path, Bounds(disk=Disk(tmp_path, 2**60))))
    assert np.array_equal(await cache.gather(codes, np.array([5])), array[5:6])
    assert not await asyncio.to_thread(lambda: [*tmp_path.glob("sha256-*")])
    chunks = blobs.chunks(codes.shards[0].data.digest)
    chunks[0] = bytes([chunks[0][0] ^ 1]) + chunks[0][1:]
    with pytest.raises(ChecksumMismatchError):
        await cache.gather(codes, np.array([5]))
