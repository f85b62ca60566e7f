"""The order of an epoch: a permutation of which any part can be had without the rest.

A Feistel network over a × b ≥ n values, whose round functions are Philox 4×32-10; a value outside
n is put in again ("cycle walking"). FORMAT.md §9 defines it, with golden values.

With 6 rounds of independent random functions, pairs of items and the distances between items one, b
and 2b places apart were as uniform as a random order's, by chi-square at n from 100 to 1.3 million.
Fewer items take more rounds: with 24, all orders of up to 8 items were as likely.
"""

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import philox
from labelcast.errors import InvalidRequestError

MAX_COUNT = 2**32

_ROUNDS, _ROUNDS_OF_FEW = 6, 24
_FEW = 1024
# The last word of the counter keeps these draws apart from all others under the same key.
_ORDER_WORD = 0xFFFFFFFF
# A megabyte in all arrays together. Smaller parts would fit the second cache, and take as long:
# each call of numpy gives up the interpreter's lock, which other threads of a service then take.
_CHUNK = 2**15

_Table: TypeAlias = NDArray[np.uint64]


class FeistelPermutation:
    """A random order of `count` items that is the same everywhere.

    Its state is tables of 15 √count words, shared by all that are alike.

    Args:
        count: number of items, 1 to `MAX_COUNT`.
        epoch: which order, below 2**32.
        key: 64 bits; separates runs.

    Raises:
        InvalidRequestError: one of them is out of range.
    """

    def __init__(self, count: int, *, epoch: int, key: int) -> None:
        for what, value, low, high in (
            ("an order's count", count, 1, MAX_COUNT),
            ("an order's epoch", epoch, 0, 2**32 - 1),
            ("an order key", key, 0, 2**64 - 1),
        ):
            if not low <= value <= high:
                raise InvalidRequestError(f"{what} must be from {low} to {high}, not {value}")
        self._count = count
        self._left, self._right = sides(count)
        self._rounds = _round_tables(count, epoch, key)

    def __len__(self) -> int:
        return self._count

    def at(self, positions: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Items at some positions.

        Args:
            positions: uint64, shape (N,), each below the count.

        Returns:
            uint64, shape (N,), each below the count.

        Raises:
            InvalidRequestError: a position is not below the count.
        """
        if len(positions) and int(positions.max()) >= self._count:
            raise InvalidRequestError(f"an order of {self._count} items has no such position")
        items = np.empty_like(positions)
        for start in range(0, len(positions), _CHUNK):
            part = slice(start, start + _CHUNK)
            self._walk(positions[part], items[part])
        return items

    def _walk(self, positions: NDArray[np.uint64], items: NDArray[np.uint64]) -> None:
        self._once(positions, items)
        while len(outside := np.flatnonzero(items >= self._count)):
            again = items[outside]
            self._once(again, again)
            items[outside] = again

    def _once(self, values: NDArray[np.uint64], items: NDArray[np.uint64]) -> None:
        """Put values through the network once; `items` may be the values."""
        sizes = np.uint64(self._left), np.uint64(self._right)
        left = values // sizes[1]
        right = left * sizes[1]
        np.subtract(values, right, out=right)
        changed, other = left, right
        for table in self._rounds:
            # No value is outside the table, and numpy would take twice as long to look for one.
            table.take(other.view(np.intp), out=items, mode="clip")
            changed += items
            changed, other = other, changed
        left %= sizes[0]
        right %= sizes[1]
        np.multiply(left, sizes[1], out=items)
        items += right


def sides(count: int) -> tuple[int, int]:
    """The sizes a and b of the two halves: a even, so that rounds can be odd permutations."""
    left = math.isqrt(count - 1) + 1
    left += left % 2
    return left, -(-count // left)


# functools' cache is safe between threads and after a fork. Ranks and streams of one run share.
@lru_cache(maxsize=32)
def _round_tables(count: int, epoch: int, key: int) -> tuple[_Table, ...]:
    """What each round adds, by the half that it does not change, which is not reduced before.

    A half grows by less than its size each time, so a table is repeated as often as its half was
    changed before, and once more: reducing at the end alone saves a third of the time.
    """
    rounds = _ROUNDS_OF_FEW if count < _FEW else _ROUNDS
    left, right = sides(count)
    blocks = -(-max(left, right) // 4)
    number, block = np.divmod(np.arange(rounds * blocks, dtype=np.uint32), np.uint32(blocks))
    counter = block, number, np.full_like(block, epoch), np.full_like(block, _ORDER_WORD)
    words = philox(counter, key).T.reshape(rounds, 4 * blocks).astype(np.uint64)
    # Multiply-shift: uniform up to 2**-16 of a share, without a division.
    return tuple(
        np.tile((row[:taken] * np.uint64(size)) >> np.uint64(32), (number + 1) // 2 + 1)
        for number, (row, (size, taken)) in enumerate(
            zip(words, [(left, right), (right, left)] * rounds, strict=False)
        )
    )
