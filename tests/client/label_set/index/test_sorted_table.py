"""Positions in large tables, however their values lie."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.errors import ManifestError
from labelcast.label_set.index.sorted_table import SortedTable

RNG = np.random.default_rng(3)
COUNT = 30_000


def _unique(values: NDArray[Any]) -> NDArray[np.uint64]:
    return np.unique(values.astype(np.uint64))


TABLES: dict[str, NDArray[Any]] = {
    "run": np.arange(7, COUNT, dtype=np.uint64),
    "run to the end": np.uint64(2**64 - 1) - np.arange(COUNT, dtype=np.uint64)[::-1],
    "one gap": np.delete(np.arange(COUNT, dtype=np.uint64), 20_000),
    "digests": np.unique(RNG.integers(2**64, size=COUNT, dtype=np.uint64)),
    "ever rarer": _unique(RNG.random(COUNT) ** 8 * 2.0**63),
    "classes and numbers": _unique(
        (RNG.integers(100, size=COUNT) << 40) | RNG.integers(900, size=COUNT)
    ),
    "a run and one far away": np.append(np.arange(COUNT), -1).astype(np.uint64),
    "one": np.array([2**64 - 1], np.uint64),
    "two ends": np.array([0, 2**64 - 1], np.uint64),
    "seeds": np.unique(RNG.integers(2**32, size=COUNT, dtype=np.uint32)),
    "even seeds": np.arange(0, COUNT, 2, dtype=np.uint32),
}


@pytest.mark.parametrize("values", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("count", [1, 100, 40_000])
def test_positions(values: NDArray[Any], count: int) -> None:
    table, dtype = SortedTable(values, "sample_ids"), values.dtype.type
    highest = np.iinfo(dtype).max
    asked = np.concatenate(
        [
            values[RNG.integers(len(values), size=count)],
            # One beside a known value wraps round at the ends of the integers, as it should.
            values[RNG.integers(len(values), size=count)] + dtype(1),
            values[RNG.integers(len(values), size=count)] - dtype(1),
            RNG.integers(highest, size=count, dtype=dtype, endpoint=True),
            np.array([0, highest, values[0], values[-1]], dtype),
        ]
    )
    positions, known = table.positions(asked)
    np.testing.assert_array_equal(known, np.isin(asked, values))
    np.testing.assert_array_equal(values[positions[known]], asked[known])
    assert positions.dtype == np.int64
    assert ((positions >= 0) & (positions < len(values))).all()


def test_an_empty_table_knows_nothing() -> None:
    positions, known = SortedTable(np.zeros(0, np.uint64), "sample_ids").positions(
        np.array([0, 5], np.uint64)
    )
    assert len(positions) == 2
    assert not known.any()


@pytest.mark.parametrize("values", [[1, 1], [2, 1], [1, 2, 2, 3], [2**64 - 1, 0]])
def test_a_table_increases_strictly(values: list[int]) -> None:
    with pytest.raises(ManifestError, match="section seeds is not strictly increasing"):
        SortedTable(np.array(values, np.uint64), "seeds")
