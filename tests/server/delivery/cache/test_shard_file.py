"""Rows out of a shard's file: from verified chunks alone, whatever happens meanwhile."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.checksums import crc32
from labelcast.label_set import BlobRef, Section, Shard, digest_of
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.delivery.cache.shard_file import ShardFile

STRIDE, ROWS_PER_CHUNK, CHUNKS = 4, 10, 3
ROWS = np.random.default_rng(0).integers(256, size=(25, STRIDE), dtype=np.uint8)
PIECES = [ROWS[at : at + ROWS_PER_CHUNK].tobytes() for at in range(0, len(ROWS), ROWS_PER_CHUNK)]
EVERYTHING = np.arange(len(ROWS))[::-1]
CHECKSUMS = np.array([crc32(piece) for piece in PIECES], dtype="<u4")


def ref(content: bytes) -> BlobRef:
    return BlobRef(digest_of(content), len(content))


SHARD = Shard(len(ROWS), ref(ROWS.tobytes()), ref(CHECKSUMS.tobytes()))
SECTION = Section(STRIDE, len(ROWS), ROWS_PER_CHUNK, (SHARD,))


class Interrupted(ShardFile):
    """Has something happen after it is known to be whole, before rows are read."""

    interrupt: Callable[[], object] | None = None

    def is_whole(self) -> bool:
        whole = super().is_whole()
        if self.interrupt is not None:
            self.interrupt()
        return whole


@pytest.fixture
def file(tmp_path: Path) -> Interrupted:
    made = Interrupted.open(CacheDirectory(tmp_path), SECTION, SHARD, CHECKSUMS)
    assert made is not None
    return made


def fill(file: ShardFile, *numbers: int) -> None:
    file.put([(number, PIECES[number]) for number in numbers])


def path_in(directory: Path) -> Path:
    return directory / SHARD.data.digest.replace(":", "-")


def assert_taken(file: ShardFile, rows: NDArray[np.int64]) -> None:
    taken = file.take(STRIDE, rows)
    assert taken is not None
    assert np.array_equal(taken, ROWS[rows])


def test_rows_of_verified_chunks_alone(file: Interrupted) -> None:
    assert file.take(STRIDE, EVERYTHING) is None
    fill(file, 0, 2)
    assert file.unverified(np.array([2, 1, 1, 0])) == [1]
    assert file.take(STRIDE, EVERYTHING) is None
    beside = np.array([24, 0, 0, 9])
    assert_taken(file, beside)
    fill(file, 1)
    assert_taken(file, EVERYTHING)


def test_what_a_cut_file_lost_does_not_come_back_as_zeros(
    file: Interrupted, tmp_path: Path
) -> None:
    fill(file, 0, 1, 2)
    others = Interrupted.open(CacheDirectory(tmp_path), SECTION, SHARD)
    assert others is not None
    assert others.check(range(CHUNKS)) == []
    os.truncate(path_in(tmp_path), 5)
    fill(file, 2)
    assert file.take(STRIDE, EVERYTHING) is None
    renewed = Interrupted.open(CacheDirectory(tmp_path), SECTION, SHARD, CHECKSUMS)
    assert renewed is not None
    fill(renewed, 0, 1, 2)
    assert_taken(renewed, EVERYTHING)
    assert others.take(STRIDE, EVERYTHING) is None


def test_what_was_found_damaged_meanwhile_is_not_delivered(
    file: Interrupted, tmp_path: Path
) -> None:
    fill(file, 0, 1, 2)

    def damaged_and_found() -> None:
        file.interrupt = None
        with path_in(tmp_path).open("r+b") as damaged:
            damaged.write(bytes(STRIDE))
        assert file.check([0]) == [0]
        fill(file, 0)

    file.interrupt = damaged_and_found
    assert file.take(STRIDE, EVERYTHING) is None
    assert_taken(file, EVERYTHING)
