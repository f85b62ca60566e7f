"""Rank and select over bitmaps of many blocks, evenly filled, crowded or nearly empty."""

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.label_set.index.bitmap import RankedBitmap

SIZE = 1_000_003
RNG = np.random.default_rng(5)


def crowded() -> NDArray[np.bool_]:
    """Full, empty and thin stretches, with the last cell taken."""
    bits = RNG.random(SIZE) < 0.02
    bits[100_000:300_000], bits[300_000:700_000] = True, False
    bits[-1] = True
    return bits


BITMAPS = {
    "none": np.zeros(SIZE, np.bool_),
    "all": np.ones(SIZE, np.bool_),
    "last": np.arange(SIZE) == SIZE - 1,
    "first and last": np.isin(np.arange(SIZE), [0, SIZE - 1]),
    "thin": RNG.random(SIZE) < 0.001,
    "two thirds": RNG.random(SIZE) < 2 / 3,
    "crowded": crowded(),
    # Exactly whole words, so that the cell after the last begins another.
    "whole words": RNG.random(64 * 2048) < 0.5,
    "one cell": np.ones(1, np.bool_),
}


@pytest.mark.parametrize("bits", BITMAPS.values(), ids=BITMAPS)
def test_rank_and_select(bits: NDArray[np.bool_]) -> None:
    packed = np.packbits(bits, bitorder="little")
    bitmap = RankedBitmap(packed, len(bits))
    cells = np.flatnonzero(bits)
    before = np.append(0, np.cumsum(bits))
    assert bitmap.count == len(cells)
    np.testing.assert_array_equal(bitmap.cells(), cells)
    np.testing.assert_array_equal(bitmap.packed(), packed)
    np.testing.assert_array_equal(bitmap.rank(np.arange(len(bits) + 1)), before)
    np.testing.assert_array_equal(bitmap.find(np.arange(len(bits)))[1], bits)
    np.testing.assert_array_equal(bitmap.select(np.arange(len(cells))), cells)


def test_transposed() -> None:
    bits = RNG.random(37 * 1003) < 0.3
    bitmap = RankedBitmap(np.packbits(bits, bitorder="little"), len(bits))
    expected = np.flatnonzero(bits.reshape(37, 1003).T)
    np.testing.assert_array_equal(bitmap.transposed(1003).cells(), expected)


@pytest.mark.parametrize("name", [name for name in BITMAPS if len(BITMAPS[name]) == SIZE])
def test_a_cell_costs_less_than_a_fifth_of_a_byte(name: str) -> None:
    bitmap = RankedBitmap(np.packbits(BITMAPS[name], bitorder="little"), SIZE)
    assert bitmap.num_bytes / SIZE < 0.2
