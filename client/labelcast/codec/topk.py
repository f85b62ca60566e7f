"""`topk`: the k likeliest classes with their probabilities or logits, and a rule for the rest.

Spreading and renormalising are FKD's rules (Shen and Xing, arXiv 2112.01528); leaving the rest at
zero is DistillKit's. Logits of k classes, as LPQLD keeps them, are valid at any temperature.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.base import (
    Codec,
    CodecHeader,
    LabelKind,
    Labels,
    TensorSpecs,
    choice,
    integer,
    only_keys,
)
from labelcast.errors import CodecFormatError, CodeRangeError, LabelValueError
from labelcast.views import Rows

# fp16 rounds each of up to k probabilities by at most 2**-11 of itself.
MAX_TOTAL = 1 + 2**-10
# The logit of a class outside the k: its probability is 0 in fp32 at every temperature below 300,
# and it fits fp16 with room for every difference.
MISSING_LOGIT = -32768.0


class Recovery(StrEnum):
    """What happens to the probability that the k classes do not hold."""

    SPREAD = "spread"
    RENORMALISE = "renormalise"
    ZERO = "zero"


class TopKCodec(Codec):
    """A row is k class IDs (uint16; uint32 from 65,537 classes on), then k fp16 values.

    Values are probabilities or, with `renormalise`, logits.
    """

    name = "topk"

    def __init__(self, header: CodecHeader, k: int, recovery: Recovery) -> None:
        super().__init__(header)
        if header.label_kind is LabelKind.LOGITS and recovery is not Recovery.RENORMALISE:
            raise CodecFormatError("top-k logits say nothing of other classes: renormalise them")
        self.k = k
        self.recovery = recovery

    @property
    def id_dtype(self) -> np.dtype[Any]:
        """Width of a class ID."""
        return top_k_id_dtype(self.header.num_classes)

    @property
    def row_stride(self) -> int:
        return self.k * (self.id_dtype.itemsize + 2)

    def config(self) -> dict[str, Any]:
        return {"k": self.k, "recovery": str(self.recovery)}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        only_keys(config, "k", "recovery")
        integer(config, "k", 1, header.num_classes)
        choice(config, "recovery", Recovery)
        return {}

    @classmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        k = integer(config, "k", 1, header.num_classes)
        return cls(header, k, choice(config, "recovery", Recovery))

    def split(self, rows: Rows) -> tuple[NDArray[np.int64], Labels]:
        """Class IDs (int64) and values (float32) of `rows`, each of shape (N, k)."""
        self._check_shape(rows)
        return split_top_k(rows, self.k, self.header.num_classes)

    def check_rows(self, rows: Rows) -> None:
        self._check(*self.split(rows))

    def decode(self, rows: Rows, context: Rows | None = None) -> Labels:
        self._check_context(rows, context)
        ids, values = self.split(rows)
        self._check(ids, values)
        if self.header.label_kind is LabelKind.LOGITS:
            labels = np.full((len(rows), self.header.num_classes), MISSING_LOGIT, dtype=np.float32)
            np.put_along_axis(labels, ids, values, axis=1)
            return labels
        probabilities = values
        total = probabilities.sum(axis=1, keepdims=True)
        others = self.header.num_classes - self.k
        labels = np.zeros((len(rows), self.header.num_classes), dtype=np.float32)
        if self.recovery is Recovery.SPREAD and others:
            labels += np.maximum(1 - total, 0) / np.float32(others)
        elif self.recovery is not Recovery.ZERO:
            probabilities = probabilities / total
        np.put_along_axis(labels, ids, probabilities, axis=1)
        return labels

    def _check(self, ids: NDArray[np.int64], values: Labels) -> None:
        if ids.size and ids.max() >= self.header.num_classes:
            raise CodeRangeError(
                f"class ID {ids.max()} is outside the {self.header.num_classes} classes"
            )
        in_order = np.sort(ids, axis=1)
        if (in_order[:, 1:] == in_order[:, :-1]).any():
            raise CodecFormatError("a row names one class twice")
        if self.header.label_kind is LabelKind.LOGITS:
            # Written so that NaN fails.
            if not (np.abs(values) < -MISSING_LOGIT).all():
                raise LabelValueError("top-k logits are not finite, or beyond ±32768")
            return
        total = values.sum(axis=1)
        valid = np.isfinite(values).all() and (values >= 0).all()
        if not (valid and (total > 0).all() and (total <= MAX_TOTAL).all()):
            raise LabelValueError("top-k probabilities are not finite, negative, or sum to above 1")


def top_k_id_dtype(num_classes: int) -> np.dtype[Any]:
    """Type of one class ID: uint16, or uint32 where that is too narrow."""
    return np.dtype("<u2" if num_classes <= 2**16 else "<u4")


def split_top_k(rows: Rows, k: int, num_classes: int) -> tuple[NDArray[np.int64], Labels]:
    """Class IDs and probabilities of top-k rows, unchecked.

    Args:
        rows: uint8, shape (N, k * (ID width + 2)).
        k: classes per row.
        num_classes: number of classes, C; decides the width of an ID.

    Returns:
        int64 and float32, each of shape (N, k).
    """
    id_dtype = top_k_id_dtype(num_classes)
    width = k * id_dtype.itemsize
    ids = np.ascontiguousarray(rows[:, :width]).view(id_dtype).astype(np.int64)
    return ids, np.ascontiguousarray(rows[:, width:]).view("<f2").astype(np.float32)
