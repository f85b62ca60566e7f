"""`topk-packed`: the k likeliest classes in as few bytes as they can be.

Three things make it shorter than `topk`. A set of IDs needs fewer bits than a list of them. A few
bits a probability are enough, where they are fine for what matters. And what the others hold is
stored rather than left over, so that rounding cannot add to it.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import (
    CodecHeader,
    LabelKind,
    TensorSpecs,
    choice,
    integer,
    only_keys,
)
from labelcast.codec.bitpack import bits_of, codes_of
from labelcast.codec.sparse.base import SparseCodec, SparseLabels
from labelcast.codec.sparse.missing_mass import MissingMass
from labelcast.codec.sparse.rising_ids import RisingIds
from labelcast.errors import CodecFormatError, LabelValueError
from labelcast.views import Rows

MAX_LEVEL_BITS = 16
# Levels are fourth roots: small probabilities need fine steps, and of the powers from 0.15 to 0.5
# this one gave the least KL at every number of bits from 3 to 8.
_POWER = 4
_LAST_MASS = 255
# Rows that are unpacked at a time, a byte a bit.
_BLOCK_BITS = 2**24


class PackedTopKCodec(SparseCodec):
    """A row is the mass of the others, k class IDs in rising order and k levels.

    Args:
        header: probabilities.
        k: classes of a row, 1 to C.
        bits: bits of a level, 1 to 16.
        missing: what the other classes get.

    Raises:
        CodecFormatError: logits, or a number out of range.
    """

    name = "topk-packed"

    def __init__(self, header: CodecHeader, k: int, bits: int, missing: MissingMass) -> None:
        super().__init__(header)
        if header.label_kind is not LabelKind.PROBABILITIES:
            raise CodecFormatError(f"{self.name} rows give probabilities, not {header.label_kind}")
        _parsed(header, {"k": k, "bits": bits, "missing": missing})
        self.k = k
        self.bits = bits
        self.missing = missing
        self.ids = RisingIds(header.num_classes, k)

    @classmethod
    def within(
        cls, header: CodecHeader, row_bytes: int, missing: MissingMass, bits: int = 4
    ) -> Self:
        """The codec of as many classes as fit into some bytes a row.

        Raises:
            CodecFormatError: not even one fits.
        """
        low, high = 0, header.num_classes
        while low < high:
            middle = (low + high + 1) // 2
            fits = cls(header, middle, bits, missing).row_stride <= row_bytes
            low, high = (middle, high) if fits else (low, middle - 1)
        if not low:
            raise CodecFormatError(f"no class fits into {row_bytes} bytes a row")
        return cls(header, low, bits, missing)

    @property
    def mass_bytes(self) -> int:
        """Bytes that say what the others hold; none if it is left out."""
        return 0 if self.missing is MissingMass.RENORMALISE else 1

    @property
    def row_stride(self) -> int:
        return self.mass_bytes + -(-(self.ids.bits + self.k * self.bits) // 8)

    def config(self) -> dict[str, Any]:
        return {"k": self.k, "bits": self.bits, "missing": str(self.missing)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        _parsed(header, config)
        return {}

    @classmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        return cls(header, *_parsed(header, config))

    @classmethod
    def named_classes(cls, header: CodecHeader, config: Mapping[str, Any]) -> int:
        return _parsed(header, config)[0]

    def sparse(self, rows: Rows) -> SparseLabels:
        self._check_shape(rows)
        ids = np.empty((len(rows), self.k), dtype=np.int64)
        probabilities, mass = np.empty((len(rows), self.k)), np.empty(len(rows))
        step = max(1, _BLOCK_BITS // (8 * self.row_stride))
        for start in range(0, len(rows), step):
            block = slice(start, start + step)
            ids[block], levels = self._unpacked(rows[block])
            mass[block] = self._mass(rows[block], levels)
            probabilities[block] = self._weights(levels)
        probabilities *= (1 - mass)[:, None]
        return self.missing.completed(ids, probabilities, mass, self.header.num_classes)

    def pack(self, ids: NDArray[np.int64], levels: NDArray[Any], masses: NDArray[np.uint8]) -> Rows:
        """Rows of checked values.

        Args:
            ids: int64, shape (N, k), rising in each row.
            levels: integers below 2**bits, shape (N, k).
            masses: uint8, shape (N,): level of what the others hold; not stored if it is left out.
        """
        planes = np.concatenate([self.ids.write(ids), bits_of(levels, bits=self.bits)], axis=1)
        packed = np.packbits(planes, axis=1, bitorder="little")
        return np.concatenate([masses[:, None][:, : self.mass_bytes], packed], axis=1)

    def _unpacked(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        planes = np.unpackbits(rows[:, self.mass_bytes :], axis=1, bitorder="little")
        start, stop = self.ids.bits, self.ids.bits + self.k * self.bits
        if planes[:, stop:].any():
            raise CodecFormatError("padding bits after the last level are not zero")
        levels = codes_of(np.ascontiguousarray(planes[:, start:stop]), bits=self.bits)
        return self.ids.read(planes[:, :start]), levels

    def _weights(self, levels: NDArray[np.uint32]) -> NDArray[np.float64]:
        """Probabilities among the named classes."""
        weights: NDArray[np.float64] = (levels / (2**self.bits - 1)) ** _POWER
        totals = weights.sum(axis=1, keepdims=True)
        if not (totals > 0).all():
            raise LabelValueError("a row gives a probability to none of its classes")
        weights /= totals
        return weights

    def _mass(self, rows: Rows, levels: NDArray[np.uint32]) -> NDArray[np.float64]:
        """What the classes hold that a row does not name."""
        if not self.mass_bytes:
            return np.zeros(len(rows))
        mass = mass_of(rows[:, 0])
        nobody = np.count_nonzero(levels, axis=1) == self.header.num_classes
        if (mass >= 1).any() or (self.missing.is_kept & nobody & (mass > 0)).any():
            raise LabelValueError("a row leaves nothing to its classes, or something to no class")
        return mass


def level_of(log_ratios: NDArray[np.float32], bits: int) -> NDArray[np.int64]:
    """Levels of probabilities, by the logarithm of their ratio to the largest of the row."""
    levels: NDArray[np.int64] = np.rint(np.exp(log_ratios / _POWER) * (2**bits - 1)).astype(
        np.int64
    )
    return levels


def mass_of(levels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Masses of their levels; their odds are squares, which makes steps fine towards 0 and 1."""
    up = levels.astype(np.float64) ** 2
    down = (_LAST_MASS - levels.astype(np.float64)) ** 2
    return up / (up + down)


def mass_levels(masses: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Levels of masses from 0 to 1: 0 for 0 alone, and never all."""
    roots = np.sqrt(masses / np.maximum(1 - masses, 1e-12))
    levels = np.rint(_LAST_MASS * roots / (1 + roots)).clip(1, _LAST_MASS - 1)
    return np.where(masses > 0, levels, 0).astype(np.uint8)


def _parsed(header: CodecHeader, config: Mapping[str, Any]) -> tuple[int, int, MissingMass]:
    only_keys(config, "k", "bits", "missing")
    return (
        integer(config, "k", 1, header.num_classes),
        integer(config, "bits", 1, MAX_LEVEL_BITS),
        choice(config, "missing", MissingMass),
    )
