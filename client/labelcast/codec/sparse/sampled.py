"""`sampled`: classes drawn from the teacher's distribution, with how often they came.

After random sampling knowledge distillation (arXiv 2503.16870): on average over draws the label is
the teacher's own distribution, where that of the k likeliest classes never is.
"""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import CodecHeader, LabelKind, TensorSpecs, integer, only_keys
from labelcast.codec.latent.head import HeadDtype
from labelcast.codec.sparse.base import SparseCodec, SparseLabels
from labelcast.errors import CodecFormatError, CodeRangeError, LabelValueError
from labelcast.views import Rows

SLOT_BYTES = 3
MAX_SLOTS = 4096
# Smallest weight of a row that has a level, as a power of two of the row's scale.
_OCTAVES = 24
_NO_SCALE = 0x7F80


class SampledCodec(SparseCodec):
    """A row is slots of 3 bytes: a class ID in as few bits as C needs, above it a count.

    A label is the counts divided by their sum. With `weighted`, a level of a logarithmic scale
    takes the place of the count, and a bf16 factor stands before the slots: importance weights, for
    draws from another distribution than the label's. Such a label sums to 1 on average alone.

    Args:
        header: probabilities.
        slots: classes of a row at most.
        weighted: whether slots hold importance weights.

    Raises:
        CodecFormatError: logits, or a number out of range.
    """

    name = "sampled"

    def __init__(self, header: CodecHeader, slots: int, *, weighted: bool = False) -> None:
        super().__init__(header)
        if header.label_kind is not LabelKind.PROBABILITIES:
            raise CodecFormatError(f"{self.name} rows give probabilities, not {header.label_kind}")
        _parsed({"slots": slots, "weighted": weighted})
        self.slots = slots
        self.weighted = weighted

    @property
    def id_bits(self) -> int:
        """Bits of a class ID."""
        return (self.header.num_classes - 1).bit_length()

    @property
    def last_level(self) -> int:
        """Largest count of a slot, or the level of the weight 1."""
        return int(2 ** (8 * SLOT_BYTES - self.id_bits) - 1)

    @property
    def scale_bytes(self) -> int:
        """Bytes of the factor before the slots."""
        return 2 if self.weighted else 0

    @property
    def row_stride(self) -> int:
        return self.scale_bytes + self.slots * SLOT_BYTES

    def config(self) -> dict[str, Any]:
        return {"slots": self.slots, "weighted": self.weighted}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        _parsed(config)
        return {}

    @classmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        slots, weighted = _parsed(config)
        return cls(header, slots, weighted=weighted)

    @classmethod
    def named_classes(cls, header: CodecHeader, config: Mapping[str, Any]) -> int:
        return _parsed(config)[0]

    def weights(self) -> NDArray[np.float64]:
        """Weights of all levels, relative to the scale of a row: shape (last_level + 1,)."""
        levels = np.arange(self.last_level + 1)
        weights: NDArray[np.float64] = 2.0 ** ((levels / self.last_level - 1) * _OCTAVES)
        weights[0] = 0
        return weights

    def sparse(self, rows: Rows) -> SparseLabels:
        self._check_shape(rows)
        ids, levels = self._split(rows)
        if self.weighted:
            scales = self._scales(rows)
            probabilities = self.weights()[levels] * scales[:, None]
        else:
            probabilities = levels / levels.sum(axis=1, keepdims=True)
        rest = np.zeros(len(rows), dtype=np.float32)
        return SparseLabels(ids, probabilities.astype(np.float32), rest)

    def pack(
        self, ids: NDArray[np.int64], levels: NDArray[np.int64], scales: NDArray[np.float32]
    ) -> Rows:
        """Rows of checked values.

        Args:
            ids: int64, shape (N, slots): rising in the slots that are used, then 0.
            levels: int64, shape (N, slots): counts or levels, 0 in unused slots.
            scales: float32, shape (N,), each a bf16 number; not stored unless `weighted`.
        """
        slots = (levels << self.id_bits | ids).astype("<u4").view(np.uint8)
        packed = slots.reshape(len(ids), self.slots, 4)[:, :, :SLOT_BYTES]
        upper = (scales.view(np.uint32) >> 16).astype("<u2").view(np.uint8).reshape(len(ids), 2)
        flat = packed.reshape(len(ids), self.slots * SLOT_BYTES)
        return np.concatenate([upper[:, : self.scale_bytes], flat], axis=1)

    def _split(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        parts = rows[:, self.scale_bytes :].reshape(len(rows), self.slots, SLOT_BYTES)
        slots = parts.astype(np.int64) @ (1 << 8 * np.arange(SLOT_BYTES, dtype=np.int64))
        ids, levels = slots & ((1 << self.id_bits) - 1), slots >> self.id_bits
        if ids.size and ids.max() >= self.header.num_classes:
            raise CodeRangeError(
                f"class ID {ids.max()} is outside the {self.header.num_classes} classes"
            )
        used = levels > 0
        if not used[:, 0].all():
            raise LabelValueError("a row counts no class at all")
        if (ids[~used] != 0).any() or (used[:, 1:] & ~used[:, :-1]).any():
            raise CodecFormatError("a row names a class with a count of 0")
        if (used[:, 1:] & (ids[:, 1:] <= ids[:, :-1])).any():
            raise CodecFormatError("the class IDs of a row do not rise")
        return ids, levels

    def _scales(self, rows: Rows) -> NDArray[np.float32]:
        stored = np.ascontiguousarray(rows[:, : self.scale_bytes])
        bits = stored.view("<u2")
        if ((bits == 0) | (bits >= _NO_SCALE)).any():
            raise LabelValueError("the scale of a row is not above 0, infinite or NaN")
        return HeadDtype.BF16.widened(stored)[:, 0]


def _parsed(config: Mapping[str, Any]) -> tuple[int, bool]:
    only_keys(config, "slots", "weighted")
    weighted = config.get("weighted")
    if type(weighted) is not bool:
        raise CodecFormatError(f"codec parameter weighted is {weighted!r}, must be true or false")
    return integer(config, "slots", 1, MAX_SLOTS), weighted
