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
# Half of a megabyte in all arrays together, which stays in the processor's second cache.
_CHUNK = 2**13

_Table: TypeAlias = NDArray[np.uint64]


class FeistelPermutation:
    """A random order of `count` items that is the same everywhere.

    Its state is a table of about √count words for each round, shared by all that are alike.

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
            items[part] = self._walked(positions[part])
        return items

    def _walked(self, positions: NDArray[np.uint64]) -> NDArray[np.uint64]:
        items = self._once(positions)
        while len(outside := np.flatnonzero(items >= self._count)):
            items[outside] = self._once(items[outside])
        return items

    def _once(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        sizes = np.uint64(self._left), np.uint64(self._right)
        left = values // sizes[1]
        right = values - left * sizes[1]
        changed, other = left, right
        for number, table in enumerate(self._rounds):
            changed += table.take(other.view(np.intp))
            # Below twice the size: what wraps round is larger, so the smaller is the remainder.
            np.minimum(changed, changed - sizes[number % 2], out=changed)
            changed, other = other, changed
        left *= sizes[1]
        left += right
        return left


def sides(count: int) -> tuple[int, int]:
    """The sizes a and b of the two halves: a even, so that rounds can be odd permutations."""
    left = math.isqrt(count - 1) + 1
    left += left % 2
    return left, -(-count // left)


# functools' cache is safe between threads and after a fork. Ranks and streams of one run share.
@lru_cache(maxsize=32)
def _round_tables(count: int, epoch: int, key: int) -> tuple[_Table, ...]:
    """What each round adds, by the value of the half that it does not change."""
    rounds = _ROUNDS_OF_FEW if count < _FEW else _ROUNDS
    left, right = sides(count)
    blocks = -(-max(left, right) // 4)
    number, block = np.divmod(np.arange(rounds * blocks, dtype=np.uint32), np.uint32(blocks))
    counter = block, number, np.full_like(block, epoch), np.full_like(block, _ORDER_WORD)
    words = philox(counter, key).T.reshape(rounds, 4 * blocks).astype(np.uint64)
    # Multiply-shift: uniform up to 2**-16 of a share, without a division.
    return tuple(
        (row[:taken] * np.uint64(size)) >> np.uint64(32)
        for row, (size, taken) in zip(words, [(left, right), (right, left)] * rounds, strict=False)
    )
