"""Rows out of a shard's file: from verified chunks alone, whatever happens meanwhile."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.checksums import crc32
from labelcast_server.delivery.cache.shard_file import ShardFile

STRIDE, ROWS_PER_CHUNK, CHUNKS = 4, 10, 3
ROWS = np.random.default_rng(0).integers(256, size=(25, STRIDE), dtype=np.uint8)
PIECES = [ROWS[at : at + ROWS_PER_CHUNK].tobytes() for at in range(0, len(ROWS), ROWS_PER_CHUNK)]
EVERYTHING = np.arange(len(ROWS))[::-1]


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
    checksums = np.array([crc32(piece) for piece in PIECES], dtype=np.uint32)
    return Interrupted(tmp_path / "shard", ROWS.nbytes, STRIDE * ROWS_PER_CHUNK, checksums)


def fill(file: ShardFile, *numbers: int) -> None:
    file.put([(number, PIECES[number]) for number in numbers])


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


def test_what_was_taken_back_and_put_again_meanwhile_is_not_delivered(file: Interrupted) -> None:
    fill(file, 0, 1, 2)

    def restored_and_filled() -> None:
        file.interrupt = None
        file.restore_size()
        fill(file, 0, 1, 2)

    file.interrupt = restored_and_filled
    assert file.take(STRIDE, EVERYTHING) is None
    assert_taken(file, EVERYTHING)


def test_what_was_found_damaged_meanwhile_is_not_delivered(
    file: Interrupted, tmp_path: Path
) -> None:
    fill(file, 0, 1, 2)

    def damaged_and_found() -> None:
        file.interrupt = None
        with (tmp_path / "shard").open("r+b") as damaged:
            damaged.write(bytes(STRIDE))
        assert file.check([0]) == [0]
        fill(file, 0)

    file.interrupt = damaged_and_found
    assert file.take(STRIDE, EVERYTHING) is None
    assert_taken(file, EVERYTHING)
