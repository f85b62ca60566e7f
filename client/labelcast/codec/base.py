"""The contract of every codec, on its decoding side.

Shape letters: `N` rows, `C` classes, `M` codes per label, `K` codebook size, `D` codeword width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import CodecFormatError
from labelcast.views import Rows

Labels = NDArray[np.float32]
Choice = TypeVar("Choice", bound=StrEnum)

MAX_CLASSES = 2**20
MAX_STRIDE = 2**23


class LabelKind(StrEnum):
    """Kind of the values in a soft label."""

    LOGITS = "logits"
    PROBABILITIES = "probabilities"


class Precision(StrEnum):
    """Width of one value; always little-endian IEEE 754."""

    FP16 = "fp16"
    FP32 = "fp32"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type."""
        return np.dtype("<f2" if self is Precision.FP16 else "<f4")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far two correct decoders may differ: |a - b| <= absolute + relative * |b|."""

    absolute: float
    relative: float

    def accepts(self, actual: Labels, expected: Labels) -> bool:
        """Whether every value is finite and within the bound."""
        return bool(
            np.isfinite(actual).all()
            and np.allclose(actual, expected, rtol=self.relative, atol=self.absolute)
        )


# Sums of a few hundred fp32 products in another order differ by about 1e-5 on logits of size 20;
# rounding to fp16 adds half a unit in the last place, 2**-11 of the value.
TOLERANCES = {
    Precision.FP32: Tolerance(absolute=1e-3, relative=1e-4),
    Precision.FP16: Tolerance(absolute=2e-3, relative=1e-3),
}


@dataclass(frozen=True, slots=True)
class TemperatureRange:
    """Softmax temperatures at which labels are valid, both ends included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high < float("inf"):
            raise CodecFormatError(
                f"temperature range {self.low}…{self.high} is not a range above 0"
            )

    def __contains__(self, temperature: float) -> bool:
        return self.low <= temperature <= self.high


@dataclass(frozen=True, slots=True)
class CodecHeader:
    """What every codec says about its labels.

    Attributes:
        num_classes: number of classes, C.
        label_kind: kind of the labels that `decode` returns.
        temperatures: temperatures at which the labels are valid; None for any (exact logits).
            Probabilities have exactly one: their own.
    """

    num_classes: int
    label_kind: LabelKind
    temperatures: TemperatureRange | None

    def __post_init__(self) -> None:
        if not 1 <= self.num_classes <= MAX_CLASSES:
            raise CodecFormatError(f"num_classes is {self.num_classes}, must be 1 to {MAX_CLASSES}")
        ends = self.temperatures
        if self.label_kind is LabelKind.PROBABILITIES and (ends is None or ends.low != ends.high):
            raise CodecFormatError("probabilities must name the one temperature they were taken at")


TensorSpecs = Mapping[str, tuple[str, tuple[int, ...]]]


class Codec(ABC):
    """How rows of bytes become labels.

    Every codec MUST:
      * be immutable, and decode a row the same way beside any other rows;
      * have rows of one fixed `row_stride`;
      * refuse a malformed row (`check_rows`) rather than decode it to something;
      * be rebuilt from `config` and `tensors` alone.
    """

    name: ClassVar[str]

    def __init__(self, header: CodecHeader) -> None:
        self.header = header

    @property
    @abstractmethod
    def row_stride(self) -> int:
        """Bytes per row."""

    @property
    def context_stride(self) -> int:
        """Bytes of the context row that decoding needs besides a label's own row; 0 for none."""
        return 0

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """The codec's own parameters, JSON values; `header` is stored beside them."""

    @abstractmethod
    def tensors(self) -> dict[str, NDArray[Any]]:
        """Arrays that the artifact stores; {} for codecs that are not fitted."""

    @classmethod
    @abstractmethod
    def tensor_specs(cls, header: CodecHeader, config: Mapping[str, Any]) -> TensorSpecs:
        """Safetensors dtype and shape of every tensor, derived before any is allocated.

        Raises:
            CodecFormatError: a parameter is missing, unknown, of the wrong type or out of bounds.
        """

    @classmethod
    @abstractmethod
    def build(
        cls, header: CodecHeader, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Self:
        """Rebuild from a config and tensors that `tensor_specs` has approved."""

    @abstractmethod
    def check_rows(self, rows: Rows) -> None:
        """Refuse rows that no encoder writes.

        Raises:
            CodecFormatError: wrong shape, or padding bits that are not zero.
            CodeRangeError: a code or class ID out of range.
            LabelValueError: stored values that are not finite, or no distribution.
        """

    @abstractmethod
    def decode(self, rows: Rows, context: Rows | None = None) -> Labels:
        """Decode `rows`.

        Args:
            rows: uint8, shape (N, row_stride).
            context: uint8, shape (N, context_stride), in the same order; None if the codec takes
                none.

        Returns:
            float32, shape (N, C), in row order, newly allocated.

        Raises:
            CodecFormatError: the context is missing, or given though the codec takes none.
                Otherwise as `check_rows`.
        """

    @classmethod
    def golden_columns(cls, header: CodecHeader, config: Mapping[str, Any]) -> int:
        """Values of one golden row in the artifact: a label's, unless rows decode to less."""
        return header.num_classes

    def golden_values(self, rows: Rows, context: Rows | None = None) -> Labels:
        """What every decoder must make of golden rows: float32, shape (G, `golden_columns`)."""
        return self.decode(rows, context)

    def _check_shape(self, rows: Rows) -> None:
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != self.row_stride:
            raise CodecFormatError(
                f"{self.name} rows must be uint8 of shape (N, {self.row_stride}),"
                f" got {rows.dtype} of shape {rows.shape}"
            )

    def _check_context(self, rows: Rows, context: Rows | None) -> None:
        if context is None and not self.context_stride:
            return
        if context is None:
            raise CodecFormatError(
                f"this {self.name} codec is conditioned on context; decode with"
                " label_set.decoder().decode(rows, views), which derives it"
            )
        if not self.context_stride:
            raise CodecFormatError(f"this {self.name} codec takes no context")
        if context.shape != (len(rows), self.context_stride):
            raise CodecFormatError(
                f"context rows must have shape ({len(rows)}, {self.context_stride}),"
                f" got {context.shape}"
            )


def integer(config: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """An integer parameter within bounds.

    Raises:
        CodecFormatError: missing, not an integer, or out of bounds.
    """
    value = config.get(name)
    if type(value) is not int or not low <= value <= high:
        raise CodecFormatError(f"codec parameter {name} is {value!r}, must be {low} to {high}")
    return value


def choice(config: Mapping[str, Any], name: str, choices: type[Choice]) -> Choice:
    """A parameter out of an enumeration.

    Raises:
        CodecFormatError: missing or not one of them.
    """
    try:
        return choices(config.get(name, ""))
    except ValueError:
        known = ", ".join(choices)
        raise CodecFormatError(
            f"codec parameter {name} is {config.get(name)!r}, must be one of {known}"
        ) from None


def only_keys(config: Mapping[str, Any], *names: str) -> None:
    """Refuse parameters that this version does not know: ignoring one could change labels.

    Raises:
        CodecFormatError: a parameter is unknown.
    """
    unknown = sorted(set(config) - set(names))
    if unknown:
        raise CodecFormatError(
            f"unknown codec parameters {unknown}; this codec needs a newer labelcast"
        )
