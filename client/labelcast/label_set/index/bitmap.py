"""A bitmap with ranks: which of many cells are taken, and how many before each.

words ── 64 cells each
ranks ── uint16: ones before each word in its block
blocks ── int64: ones before each block of 1,024 words
hints ── int32: the word of every 2ⁿ-th one, n such that a hint serves 128 to 256 cells on average

Together 0.17 to 0.19 bytes per cell. The arithmetic on whole words is that of S. Vigna, Broadword
Implementation of Rank/Select Queries (WEA 2008); numpy before 2.0 counts no bits.
"""

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError

_BLOCK_BITS = 10  # of the number of a word: which of its block's 1,024 it is
_HINT_CELLS = 128
# Words to step from a hint: enough for seven, which is all if ones are spread evenly.
_STEPS = (4, 2, 1)
_EVERY_BYTE = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
_PAIRS = np.uint64(0x5555555555555555)
_NIBBLES = np.uint64(0x3333333333333333)
_BYTES = np.uint64(0x0F0F0F0F0F0F0F0F)
_ONE, _BYTE = np.uint64(1), np.uint64(255)
# Position of the n-th one of every byte: uint64, 256 × 8.
_NTH_ONE = np.argsort(
    1 - np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little"),
    axis=1,
    kind="stable",
).astype(np.uint64)


class RankedBitmap:
    """Which of `size` cells are taken.

    Args:
        packed: uint8, shape (ceil(size / 8),): one bit per cell, the lowest bit of a byte first.
        size: number of cells.

    Attributes:
        size: number of cells.
        count: number of taken cells.

    Raises:
        ManifestError: another number of bytes, or bits beyond the last cell.
    """

    def __init__(self, packed: NDArray[np.uint8], size: int) -> None:
        if len(packed) != -(-size // 8):
            raise ManifestError(f"the section presence does not hold {size} bits")
        if size % 8 and int(packed[-1]) >> size % 8:
            raise ManifestError("the section presence has bits beyond its last view")
        self.size = size
        # One word more than the cells need, so that the cell after the last has a rank too.
        laid_out = np.zeros(8 * (size // 64 + 1), dtype=np.uint8)
        laid_out[: len(packed)] = packed
        self._words = laid_out.view("<u8").astype(np.uint64, copy=False)
        before = np.zeros(len(self._words) + 1, dtype=np.int64)
        np.cumsum(_count_ones(self._words), out=before[1:])
        self.count = int(before[-1])
        self._blocks = before[: -1 : 1 << _BLOCK_BITS].copy()
        of_words = np.repeat(self._blocks, 1 << _BLOCK_BITS)[: len(self._words)]
        self._ranks = (before[:-1] - of_words).astype(np.uint16)
        # Ones per hint: as many as 128 cells hold on average, rounded up to a power of two.
        self._hint_bits = max(0, _HINT_CELLS * self.count // max(1, size) - 1).bit_length()
        hinted = np.arange(0, self.count, 1 << self._hint_bits)
        dtype = np.int32 if len(self._words) < 2**31 else np.int64
        self._hints = np.empty(len(hinted) + 1, dtype=dtype)
        self._hints[:-1] = np.searchsorted(before, hinted, side="right") - 1
        self._hints[-1] = np.searchsorted(before, self.count) - 1

    @property
    def num_bytes(self) -> int:
        """Memory that the bitmap takes."""
        return sum(part.nbytes for part in (self._words, self._ranks, self._blocks, self._hints))

    def rank(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Taken cells before each cell: int64, shape (N,); `size` is allowed too."""
        return self.find(cells)[0]

    def find(self, cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Taken cells before each cell, and whether the cell is taken: int64 and bool, (N,)."""
        numbers = cells >> 6
        bit = _ONE << (cells.view(np.uint64) & np.uint64(63))
        words = self._words.take(numbers)
        ranks = _count_ones(words & (bit - _ONE))
        ranks += self._before(numbers)
        return ranks, (words & bit) != 0

    def select(self, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The taken cells that have `ranks` taken cells before them: the inverse of `rank`.

        Args:
            ranks: int64, shape (N,), each from 0 to count − 1.
        """
        hints = ranks >> self._hint_bits
        low = self._hints.take(hints).astype(np.int64)
        high = self._hints.take(hints + 1).astype(np.int64)
        wide = np.flatnonzero(high - low > sum(_STEPS))
        for step in _STEPS:
            ahead = np.minimum(low + step, high)
            np.copyto(low, ahead, where=self._before(ahead) <= ranks)
        while len(wide):
            middle = (low[wide] + high[wide] + 1) >> 1
            beyond = self._before(middle) > ranks[wide]
            high[wide[beyond]] = middle[beyond] - 1
            low[wide[~beyond]] = middle[~beyond]
            wide = wide[low[wide] < high[wide]]
        return (low << 6) + _nth_one(self._words.take(low), ranks - self._before(low))

    def cells(self) -> NDArray[np.int64]:
        """Every taken cell: int64, shape (count,), increasing."""
        return np.flatnonzero(self._unpacked()).astype(np.int64, copy=False)

    def packed(self) -> NDArray[np.uint8]:
        """The packed bits: uint8, shape (ceil(size / 8),), newly allocated."""
        return self._words.astype("<u8").view(np.uint8)[: -(-self.size // 8)].copy()

    def transposed(self, columns: int) -> "RankedBitmap":
        """The same cells of a grid numbered column after column instead of row after row.

        Args:
            columns: number of columns of the grid; a divisor of `size`.
        """
        grid = self._unpacked().reshape(-1, columns)
        return RankedBitmap(np.packbits(grid.T, bitorder="little"), self.size)

    def _unpacked(self) -> NDArray[np.uint8]:
        packed = self._words.astype("<u8", copy=False).view(np.uint8)
        return np.unpackbits(packed, count=self.size, bitorder="little")

    def _before(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._blocks.take(numbers >> _BLOCK_BITS) + self._ranks.take(numbers)


def _ones_up_to_bytes(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """In each byte of a word, the ones of that byte and of those below it."""
    ones = words - ((words >> _ONE) & _PAIRS)
    ones = (ones & _NIBBLES) + ((ones >> np.uint64(2)) & _NIBBLES)
    ones = (ones + (ones >> np.uint64(4))) & _BYTES
    summed: NDArray[np.uint64] = ones * _EVERY_BYTE
    return summed


def _count_ones(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (_ones_up_to_bytes(words) >> np.uint64(56)).view(np.int64)


def _nth_one(words: NDArray[np.uint64], numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of the n-th one of each word, counted from 0; there must be one."""
    wanted = numbers.view(np.uint64)
    ones = _ones_up_to_bytes(words)
    # The high bit of a byte stays if the ones up to it are no more than those wanted.
    passed = ((wanted * _EVERY_BYTE | _HIGH_BITS) - ones) & _HIGH_BITS
    shift = ((passed >> np.uint64(7)) * _EVERY_BYTE) >> np.uint64(56) << np.uint64(3)
    within = wanted - ((ones << np.uint64(8)) >> shift & _BYTE)
    byte = (words >> shift) & _BYTE
    nth = _NTH_ONE.take(((byte << np.uint64(3)) + within).view(np.int64))
    return (shift + nth).view(np.int64)
