"""The chunk size policy against its own model; a real Redis is measured in `tests/server/store`."""

import pytest

from labelcast.errors import InvalidRequestError
from labelcast.label_set.chunking import (
    CHUNK_BYTES,
    modelled_overhead,
    rows_per_chunk,
    value_allocation,
)


def test_every_small_stride_wastes_less_than_five_percent() -> None:
    for stride in range(1, 3001):
        length = rows_per_chunk(stride) * stride
        assert length <= CHUNK_BYTES
        assert modelled_overhead(length) < 0.05, stride


def test_a_power_of_two_is_the_trap_that_the_policy_avoids() -> None:
    assert modelled_overhead(65_536) > 0.25
    assert value_allocation(CHUNK_BYTES) == 65_536
    assert rows_per_chunk(16) == 4094
    assert rows_per_chunk(8) == 8188


def test_a_smaller_chunk_is_taken_where_the_full_one_wastes_more() -> None:
    rows = rows_per_chunk(20_000)
    assert rows == 2
    assert modelled_overhead(40_000) < 0.03 < 0.09 < modelled_overhead(60_000)


@pytest.mark.parametrize("stride", [CHUNK_BYTES, CHUNK_BYTES + 1, 100_000_000])
def test_a_row_is_never_split(stride: int) -> None:
    assert rows_per_chunk(stride) == 1


def test_a_stride_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="at least one byte"):
        rows_per_chunk(0)
