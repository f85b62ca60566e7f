"""Sets of class IDs in as few bits as a fixed length allows (Elias-Fano).

Of k IDs in rising order, the low bits are stored as they are, and the high ones as a bit map in
which ID i sets bit (its high part + i). At 49,152 classes and 39 IDs that is 12.7 bits an ID, where
the ID alone has 16.
"""

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.bitpack import bits_of, codes_of
from labelcast.errors import CodecFormatError, CodeRangeError

Bits = NDArray[np.uint8]


class RisingIds:
    """k distinct IDs below C ⇄ bits.

    Args:
        num_classes: number of classes, C, at most 2**20.
        k: IDs of a row, 1 to C.
    """

    def __init__(self, num_classes: int, k: int) -> None:
        self.num_classes, self.k = num_classes, k
        last = num_classes - 1
        widths = range(last.bit_length() + 1)
        self.low_bits = min(widths, key=lambda width: k * width + (last >> width))
        """Bits of an ID that are stored as they are: those for which the whole is shortest."""
        self.map_bits = k + (last >> self.low_bits)
        """Length of the bit map of the high parts."""

    @property
    def bits(self) -> int:
        """Bits of a row."""
        return self.k * self.low_bits + self.map_bits

    def write(self, ids: NDArray[np.int64]) -> Bits:
        """Bits of IDs that rise in each row: uint8 of 0 and 1, shape (N, bits)."""
        high = np.zeros((len(ids), self.map_bits), dtype=np.uint8)
        np.put_along_axis(high, (ids >> self.low_bits) + np.arange(self.k), 1, axis=1)
        if not self.low_bits:
            return high
        low = bits_of(ids & ((1 << self.low_bits) - 1), bits=self.low_bits)
        return np.concatenate([low, high], axis=1)

    def read(self, bits: Bits) -> NDArray[np.int64]:
        """IDs of such bits: int64, shape (N, k).

        Raises:
            CodecFormatError: the IDs of a row are not k, or do not rise.
            CodeRangeError: an ID is not below C.
        """
        start = self.k * self.low_bits
        high = bits[:, start:]
        if (np.count_nonzero(high, axis=1) != self.k).any():
            raise CodecFormatError(f"a row does not name {self.k} classes")
        ids = np.nonzero(high)[1].reshape(len(bits), self.k) - np.arange(self.k)
        if self.low_bits:
            low = codes_of(np.ascontiguousarray(bits[:, :start]), bits=self.low_bits)
            ids = (ids << self.low_bits) | low.astype(np.int64)
        if (ids[:, 1:] <= ids[:, :-1]).any():
            raise CodecFormatError("the class IDs of a row do not rise")
        if ids.size and ids[:, -1].max() >= self.num_classes:
            raise CodeRangeError(
                f"class ID {ids[:, -1].max()} is outside the {self.num_classes} classes"
            )
        return ids
