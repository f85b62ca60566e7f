"""Files of an earlier run: used if they are right, and otherwise never."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.label_set import Section
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.directory import CacheDirectory
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import upload
from tests.server.delivery.cache.counting_blobs import CountingBlobs
from tests.server.delivery.cache.one_shard import ROWS, only_file

EVERYTHING = np.random.default_rng(0).permutation(ROWS)
SOMEBODY_ELSE = 65_533


@pytest.fixture
async def kept(blobs: CountingBlobs, codes: Section, tmp_path: Path) -> Path:
    """The file that an earlier run left, with every chunk."""
    await ChunkCache(blobs, CacheDirectory(tmp_path)).gather(codes, EVERYTHING)
    blobs.read.clear()
    return only_file(tmp_path)


async def test_nothing_is_read_from_the_store_that_an_earlier_run_has_read(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], kept: Path
) -> None:
    await blobs.store.close()
    cache = ChunkCache(blobs, CacheDirectory(kept.parent))
    assert np.array_equal(await cache.gather(codes, EVERYTHING), array[EVERYTHING])
    assert blobs.read == []
    assert (cache.counts.found_files, cache.counts.dropped_files) == (1, 0)
    assert cache.counts.verified == cache.verified_chunks()


async def test_a_whole_shard_comes_from_its_file_too(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], kept: Path
) -> None:
    await blobs.store.close()
    cache = ChunkCache(blobs, CacheDirectory(kept.parent))
    assert await cache.whole(codes, codes.shards[0]) == array.tobytes()
    # It is done with: nothing of it is scrubbed.
    assert cache.shards_with_files() == []


async def test_a_whole_shard_is_compared_with_its_digest(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], kept: Path
) -> None:
    change_unseen(kept)
    cache = ChunkCache(blobs, CacheDirectory(kept.parent))
    assert (await cache.gather(codes, np.array([0])) != array[0]).any()
    assert await cache.whole(codes, codes.shards[0]) == array.tobytes()


async def test_nothing_is_checked_before_it_is_asked_for(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], kept: Path
) -> None:
    cache = ChunkCache(blobs, CacheDirectory(kept.parent))
    assert np.array_equal(await cache.gather(codes, np.array([1])), array[[1]])
    assert cache.counts.verified == 1


def cut_to(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


def flip(from_end: int) -> Callable[[Path], None]:
    """Change a byte, counted from the file's end."""

    def flipped(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[-from_end] ^= 4
        path.write_bytes(content)

    return flipped


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def lengthen(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1)


def link_elsewhere(path: Path) -> None:
    moved = path.rename(path.with_name("elsewhere"))
    path.symlink_to(moved)


def link_twice(path: Path) -> None:
    os.link(path, path.with_name("elsewhere"))


def change_unseen(path: Path) -> None:
    """Change a row, but no CRC-32: what is added is a multiple of its polynomial."""
    content = bytearray(path.read_bytes())
    for at, byte in enumerate(bytes.fromhex("410671db01")):
        content[at] ^= byte
    path.write_bytes(content)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def give_away(path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(path, SOMEBODY_ELSE, SOMEBODY_ELSE)


# The file ends with 8 flags, after an index of 32 bytes.
@pytest.mark.parametrize(
    "happens",
    [
        *(pytest.param(cut_to(size), id=f"cut to {size}") for size in (0, 1, 70_000, 480_000)),
        *(pytest.param(flip(at), id=f"flip {at}") for at in (1, 8, 9, 40, 41, 70_000, 480_000)),
        zero,
        lengthen,
        link_elsewhere,
        link_twice,
        make_pipe,
        give_away,
    ],
)
async def test_what_happens_to_a_file_while_no_service_runs(
    blobs: CountingBlobs,
    codes: Section,
    array: NDArray[np.uint8],
    kept: Path,
    happens: Callable[[Path], None],
) -> None:
    happens(kept)
    first, cache = [ChunkCache(blobs, CacheDirectory(kept.parent)) for _ in range(2)]
    for each in (first, cache):
        assert np.array_equal(await each.gather(codes, EVERYTHING), array[EVERYTHING])
    assert (cache.counts.found_files, cache.counts.loaded, cache.counts.direct) == (1, 0, 0)
    assert np.array_equal(np.fromfile(kept, np.uint8, count=array.size), array.reshape(-1))


async def test_a_file_of_another_shard_under_this_name(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], kept: Path, tmp_path: Path
) -> None:
    other, _ = make_label_set(tmp_path / "other", num_samples=8000, num_seeds=3, seed=1)
    others, theirs = CountingBlobs(), other.manifest.segments[0].codes
    for digest, ref in other.manifest.blobs().items():
        await upload(others.store, digest, other.read_blob(ref), theirs.chunk_bytes)
    (tmp_path / "cache").mkdir()
    await ChunkCache(others, CacheDirectory(tmp_path / "cache")).gather(theirs, EVERYTHING)
    shutil.copyfile(only_file(tmp_path / "cache"), kept)
    cache = ChunkCache(blobs, CacheDirectory(kept.parent))
    assert np.array_equal(await cache.gather(codes, EVERYTHING), array[EVERYTHING])
    assert cache.counts.dropped_files == 1


async def test_something_that_cannot_be_removed_is_not_used(
    blobs: CountingBlobs, codes: Section, array: NDArray[np.uint8], kept: Path
) -> None:
    make_directory(kept)
    cache = ChunkCache(blobs, CacheDirectory(kept.parent))
    assert np.array_equal(await cache.gather(codes, EVERYTHING), array[EVERYTHING])
    assert cache.counts.direct > 0
