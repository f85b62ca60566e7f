"""The plainest codecs of a language model's predictions: states and named tokens as they are."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, Rows, TemperatureRange
from labelcast.codec.base import TensorSpecs, integer
from labelcast.codec.latent import LatentCodec
from labelcast.codec.sparse import SparseCodec, SparseLabels
from labelcast.errors import CodeRangeError, LabelValueError


class FloatStates(LatentCodec):
    """A row is d float32 values."""

    name = "float-states"

    @property
    def row_stride(self) -> int:
        return 4 * self.width

    def config(self) -> dict[str, Any]:
        return {"width": self.width}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        return {}

    @classmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        return cls(header, integer(config, "width", 1, 100))

    def check_rows(self, rows: Rows) -> None:
        self.latents(rows)

    def latents(self, rows: Rows) -> NDArray[np.float32]:
        self._check_shape(rows)
        states = np.ascontiguousarray(rows).view("<f4").astype(np.float32)
        if not np.isfinite(states).all():
            raise LabelValueError("states are not finite")
        return states


class NamedTokens(SparseCodec):
    """A row is k int32 tokens, then k float32 probabilities, then the rest of each other token."""

    name = "named-tokens"

    def __init__(self, header: CodecHeader, k: int, *, lumped: bool = False) -> None:
        super().__init__(header)
        self.k, self.lumped = k, lumped

    @property
    def row_stride(self) -> int:
        return 8 * self.k + 4

    def config(self) -> dict[str, Any]:
        return {"k": self.k, "lumped": self.lumped}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def named_classes(cls, header: CodecHeader, config: Mapping[str, Any]) -> int:
        return integer(config, "k", 1, 100)

    @classmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        return {}

    @classmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        return cls(header, integer(config, "k", 1, 100), lumped=bool(config["lumped"]))

    def pack(self, labels: SparseLabels) -> Rows:
        parts = (labels.ids.astype("<i4"), labels.probabilities, labels.rest[:, None])
        return np.concatenate([each.view(np.uint8) for each in parts], axis=1)

    def sparse(self, rows: Rows) -> SparseLabels:
        self._check_shape(rows)
        cut, end = 4 * self.k, 8 * self.k
        ids = np.ascontiguousarray(rows[:, :cut]).view("<i4").astype(np.int64)
        if ids.size and ids.max() >= self.header.num_classes:
            raise CodeRangeError("a token is outside the vocabulary")
        probabilities = np.ascontiguousarray(rows[:, cut:end]).view("<f4").astype(np.float32)
        rest = np.ascontiguousarray(rows[:, end:]).view("<f4").astype(np.float32)[:, 0]
        return SparseLabels(ids, probabilities, rest, self.lumped)


def logits_header(vocabulary: int) -> CodecHeader:
    """Of codecs that keep states."""
    return CodecHeader(vocabulary, LabelKind.LOGITS, None)


def probabilities_header(vocabulary: int) -> CodecHeader:
    """Of codecs that name tokens."""
    return CodecHeader(vocabulary, LabelKind.PROBABILITIES, TemperatureRange(1.0, 1.0))
