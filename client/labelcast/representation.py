"""The forms in which labels are requested and delivered."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

import numpy as np

from labelcast.codec import CodecHeader, LabelKind, Precision
from labelcast.codec.topk import top_k_id_dtype
from labelcast.errors import ContractMismatchError, InvalidRequestError, UnsupportedFormError

# Beyond these a softmax in fp32 is an arg-max or flat, if not NaN.
_COLDEST, _HOTTEST = 1e-3, 1e4


class Form(StrEnum):
    """Form of a delivered row: codes, logits, probabilities or top-k."""

    CODES = "codes"
    LOGITS = "logits"
    PROBABILITIES = "probabilities"
    TOP_K = "top_k"


@dataclass(frozen=True, slots=True)
class Representation:
    """Form of delivered labels; build one with the class methods.

    Attributes:
        form: codes as they are stored, or labels decoded by the service.
        precision: precision of dense values; None for codes. Top-k probabilities are fp16.
        temperature: softmax temperature, for probabilities and top-k.
        k: classes per row, for top-k.
    """

    form: Form
    precision: Precision | None = None
    temperature: float | None = None
    k: int | None = None

    def __post_init__(self) -> None:
        softmax = self.form in (Form.PROBABILITIES, Form.TOP_K)
        if softmax != (self.temperature is not None) or (self.form is Form.TOP_K) != (
            self.k is not None
        ):
            raise InvalidRequestError(
                "probabilities and top-k need a temperature, top-k needs k, other forms neither"
            )
        if (self.precision is None) != (self.form is Form.CODES):
            raise InvalidRequestError("decoded labels need a precision, codes have none")
        if self.form is Form.TOP_K and self.precision is not Precision.FP16:
            raise InvalidRequestError("top-k probabilities are fp16")
        if self.temperature is not None and not _COLDEST <= self.temperature <= _HOTTEST:
            raise InvalidRequestError(
                f"temperature {self.temperature} is not from {_COLDEST:g} to {_HOTTEST:g}"
            )

    @classmethod
    def codes(cls) -> Self:
        """Packed rows, decoded by the client."""
        return cls(Form.CODES)

    @classmethod
    def logits(cls, precision: Precision = Precision.FP16) -> Self:
        """Dense logits."""
        return cls(Form.LOGITS, precision)

    @classmethod
    def probabilities(cls, temperature: float, precision: Precision = Precision.FP16) -> Self:
        """Dense softmax at a temperature."""
        return cls(Form.PROBABILITIES, precision, temperature)

    @classmethod
    def top_k(cls, k: int, temperature: float) -> Self:
        """The k likeliest classes: IDs, then their probabilities in fp16, in falling order."""
        return cls(Form.TOP_K, Precision.FP16, temperature, k)

    def row_stride(self, num_classes: int, code_stride: int) -> int:
        """Bytes of a delivered row."""
        if self.form is Form.CODES:
            return code_stride
        if self.k is not None:
            return self.k * (top_k_id_dtype(num_classes).itemsize + 2)
        return num_classes * self.dtype.itemsize

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a dense value.

        Raises:
            InvalidRequestError: codes have none.
        """
        if self.precision is None:
            raise InvalidRequestError(
                "codes are bytes; decode them with label_set.decoder().decode(rows, views)"
            )
        return self.precision.dtype

    def check(self, header: CodecHeader) -> None:
        """Refuse a form into which labels of this codec cannot be converted.

        Raises:
            UnsupportedFormError: logits of stored probabilities, or k above the number of classes.
            ContractMismatchError: the labels are not valid at the temperature.
        """
        if self.k is not None and not 1 <= self.k <= header.num_classes:
            raise UnsupportedFormError(f"k is {self.k}, must be 1 to {header.num_classes}")
        if self.form is Form.LOGITS and header.label_kind is LabelKind.PROBABILITIES:
            raise UnsupportedFormError(
                "this label set holds probabilities, which have no logits; ask for probabilities"
            )
        ends = header.temperatures
        if self.temperature is not None and ends is not None and self.temperature not in ends:
            raise ContractMismatchError(
                f"these labels are right at temperatures {ends.low:g} to {ends.high:g},"
                f" not at {self.temperature:g}",
                field="temperature",
                expected=self.temperature,
                actual=f"{ends.low:g} to {ends.high:g}",
            )


def check_representation(value: object) -> None:
    """Refuse what is no `Representation`.

    Raises:
        InvalidRequestError: says how to make one.
    """
    if not isinstance(value, Representation):
        raise InvalidRequestError(
            f"the form of labels must be a Representation, not {type(value).__name__}; give"
            " Representation.codes(), logits(), probabilities(temperature) or top_k(k, temperature)"
        )
