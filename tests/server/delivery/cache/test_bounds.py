"""A cache that may take less than there is to read: right labels, and never more than its room."""

import asyncio
import fcntl
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.label_set import Section
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_server.delivery.cache.bounds import Bounds
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.store.open_store import open_store
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import push
from tests.factories.real_redis import running_redis
from tests.server.delivery.cache.counting_blobs import CountingBlobs

ROWS, SHARD_BYTES, SHARDS = 24_000, 140_000, 4
# Room for two shards with their indexes.
LIMIT = 2 * SHARD_BYTES + 1000
EVERYTHING = np.random.default_rng(0).permutation(ROWS)
PROCESSES, STREAMS = 2, 4
# Rows that each stream compares, and files that each process evicts, at least.
COMPARED, EVICTED = 10_000, 20


@pytest.fixture(scope="module")
def label_set(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    directory = tmp_path_factory.mktemp("label-set")
    made, _ = make_label_set(directory, num_samples=8000, num_seeds=3, shard_bytes=SHARD_BYTES)
    return made


@pytest.fixture
def codes(label_set: LabelSetDirectory) -> Section:
    section = label_set.manifest.segments[0].codes
    assert len(section.shards) == SHARDS
    return section


def truth(label_set: LabelSetDirectory) -> NDArray[np.uint8]:
    section = label_set.manifest.segments[0].codes
    whole = b"".join(label_set.read_blob(shard.data) for shard in section.shards)
    return np.frombuffer(whole, np.uint8).reshape(ROWS, -1)


def first_rows(codes: Section) -> list[NDArray[np.int64]]:
    """The first row of each shard."""
    return [np.array([number * codes.shards[0].rows]) for number in range(SHARDS)]


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("sha256-*"))


def size(directory: Path) -> int:
    """Bytes of all files, while nobody makes or removes one."""
    with (directory / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return sum(path.stat().st_size for path in files(directory))


def path_of(codes: Section, number: int, directory: Path) -> Path:
    return directory / codes.shards[number].data.digest.replace(":", "-")


def use(path: Path, *, seconds_ago: float) -> None:
    at = time.time() - seconds_ago
    os.utime(path, (at, at))


async def test_what_is_not_in_use_goes(
    blobs: CountingBlobs, codes: Section, label_set: LabelSetDirectory, tmp_path: Path
) -> None:
    array = truth(label_set)
    cache = ChunkCache(blobs, CacheDirectory(tmp_path, Bounds(LIMIT, generation_seconds=0)))
    for _ in range(3):
        for row in first_rows(codes):
            assert np.array_equal(await cache.gather(codes, row), array[row])
            assert 0 < size(tmp_path) <= LIMIT
            cache.look()
        assert np.array_equal(await cache.gather(codes, EVERYTHING), array[EVERYTHING])
    assert cache.counts.evicted_files >= 3 * (SHARDS - 2)
    assert len(cache.shards_with_files()) <= SHARDS
    assert cache.counts.direct == 0


async def test_what_is_in_use_stays_and_the_rest_comes_from_the_store(
    blobs: CountingBlobs,
    codes: Section,
    label_set: LabelSetDirectory,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(tmp_path, Bounds(LIMIT)), retry_seconds=0)
    first, second, third, _ = first_rows(codes)
    await cache.gather(codes, np.concatenate([first, second]))
    kept = files(tmp_path)
    array = truth(label_set)
    for _ in range(2):
        assert np.array_equal(await cache.gather(codes, EVERYTHING), array[EVERYTHING])
        assert files(tmp_path) == kept
    assert cache.counts.direct > 0
    assert cache.counts.evicted_files == 0
    (line,) = [record.getMessage() for record in caplog.records]
    assert "LABELCAST_CACHE_MIB" in line

    # A generation later, without anybody who marks: the one that was used least recently.
    use(path_of(codes, 0, tmp_path), seconds_ago=90)
    use(path_of(codes, 1, tmp_path), seconds_ago=80)
    assert np.array_equal(await cache.gather(codes, third), array[third])
    assert not path_of(codes, 0, tmp_path).exists()
    assert path_of(codes, 1, tmp_path).exists()


async def test_use_is_marked_for_others_and_what_they_removed_is_let_go(
    blobs: CountingBlobs, codes: Section, label_set: LabelSetDirectory, tmp_path: Path
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(tmp_path))
    rows, array = first_rows(codes), truth(label_set)
    await cache.gather(codes, np.concatenate(rows[:2]))
    cache.look()
    for number in range(2):
        use(path_of(codes, number, tmp_path), seconds_ago=90)
    await cache.gather(codes, rows[1])
    cache.look()
    ages = [time.time() - path_of(codes, at, tmp_path).stat().st_mtime for at in range(2)]
    assert ages[0] > 80
    assert ages[1] < 60

    path_of(codes, 0, tmp_path).unlink()
    # It is read on until it is let go.
    read = len(blobs.read)
    assert np.array_equal(await cache.gather(codes, rows[0]), array[rows[0]])
    assert len(blobs.read) == read
    cache.look()
    assert len(cache.shards_with_files()) == 1
    assert np.array_equal(await cache.gather(codes, rows[0]), array[rows[0]])
    assert path_of(codes, 0, tmp_path).exists()


async def test_a_running_cache_tends_its_files(
    blobs: CountingBlobs, codes: Section, tmp_path: Path
) -> None:
    directory = CacheDirectory(tmp_path, Bounds(generation_seconds=0.03))
    cache = ChunkCache(blobs, directory)
    await cache.gather(codes, first_rows(codes)[0])
    path_of(codes, 0, tmp_path).unlink()
    tending = asyncio.create_task(directory.tend(cache.look))
    async with asyncio.timeout(60):
        while cache.shards_with_files():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.01)
    tending.cancel()


def test_marks_of_a_clock_that_was_set_back_do_not_last(tmp_path: Path) -> None:
    path = tmp_path / ("sha256-" + "0" * 64)
    path.write_bytes(bytes(100))
    use(path, seconds_ago=-1000)
    (tmp_path / "of somebody else").write_bytes(bytes(100))
    assert Bounds(limit_bytes=150).make_room(tmp_path, 100) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["of somebody else"]


def test_without_a_limit_half_of_the_disk(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    free = found.f_bavail * found.f_frsize
    assert Bounds().make_room(tmp_path, free // 4) == 0
    with pytest.raises(Exception, match="LABELCAST_CACHE_MIB"):
        Bounds().make_room(tmp_path, free // 4 * 3)


def compare(url: str, directory: Path, label_set_directory: Path, told: Connection) -> None:
    """One worker: streams that read rows at random and compare every one."""
    label_set = LabelSetDirectory(label_set_directory)
    codes, array = label_set.manifest.segments[0].codes, truth(label_set)

    async def stream(cache: ChunkCache, seed: int) -> None:
        rng, compared = np.random.default_rng(seed), 0
        while compared < COMPARED or cache.counts.evicted_files < EVICTED:
            rows = rng.integers(ROWS, size=rng.choice([1, 50, 5000]))
            assert np.array_equal(await cache.gather(codes, rows), array[rows])
            cache.look()
            compared += len(rows)

    async def run() -> None:
        store = open_store(url)
        bounds = Bounds(LIMIT, generation_seconds=0)
        cache = ChunkCache(store.blobs, CacheDirectory(directory, bounds))
        seeds = [os.getpid() * STREAMS + number for number in range(STREAMS)]
        await asyncio.gather(*(stream(cache, seed) for seed in seeds))
        await store.close()
        told.send("compared")

    asyncio.run(run())


@contextmanager
def workers(*arguments: object) -> Iterator[list[Connection]]:
    spawn = multiprocessing.get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(PROCESSES)]
    started = [spawn.Process(target=compare, args=(*arguments, theirs)) for _, theirs in pipes]
    for process in started:
        process.start()
    try:
        yield [ours for ours, _ in pipes]
    finally:
        for process in started:
            process.join(60)
            process.kill()


def test_processes_that_evict_each_others_files_deliver_right_labels(
    label_set: LabelSetDirectory, tmp_path: Path
) -> None:
    for name in ("cache", "redis"):
        (tmp_path / name).mkdir()
    with running_redis(tmp_path / "redis") as redis:

        async def pushed() -> None:
            store = open_store(redis.url)
            await push(store, label_set, stage=False)
            await store.close()

        asyncio.run(pushed())
        with workers(redis.url, tmp_path / "cache", label_set.directory) as told:
            sizes = []
            while not all(each.poll(0.02) for each in told):
                sizes.append(size(tmp_path / "cache"))
            # Raises where a worker ended without a word.
            assert [each.recv() for each in told] == ["compared"] * PROCESSES
    assert 0 < max(sizes) <= LIMIT
