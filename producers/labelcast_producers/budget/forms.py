"""Forms of a stored label, and how many bits each takes."""

from dataclasses import dataclass
from typing import Protocol

from labelcast.errors import InvalidRequestError

MAX_VALUE_BITS = 64
MAX_CODEBOOK = 2**32


class LabelForm(Protocol):
    """How one label is stored."""

    def payload_bits(self, classes: int) -> int:
        """Bits of one label of `classes` values.

        Raises:
            InvalidRequestError: labels of so few or many classes cannot have this form.
        """
        ...

    def __str__(self) -> str:
        """The text that `parse_form` reads back."""
        ...


@dataclass(frozen=True, slots=True)
class Dense:
    """All values.

    Attributes:
        value_bits: bits of one value, b_value.
    """

    value_bits: int

    def __post_init__(self) -> None:
        _bounded("bits a value", self.value_bits, 1, MAX_VALUE_BITS)

    def payload_bits(self, classes: int) -> int:
        """C · b_value."""
        return classes * self.value_bits

    def __str__(self) -> str:
        """`fp16`, `fp32`."""
        return f"fp{self.value_bits}"


@dataclass(frozen=True, slots=True)
class TopK:
    """The largest values with their classes.

    Attributes:
        k: number of values kept.
        value_bits: bits of one value.
        index_bits: bits of one class index.
    """

    k: int
    value_bits: int = 16
    index_bits: int = 16

    def __post_init__(self) -> None:
        _bounded("k", self.k, 1, 2**32)
        _bounded("bits a value", self.value_bits, 1, MAX_VALUE_BITS)
        _bounded("bits an index", self.index_bits, 1, MAX_VALUE_BITS)

    def payload_bits(self, classes: int) -> int:
        """K · (b_value + b_index)."""
        if self.k > classes:
            raise InvalidRequestError(f"the {self.k} largest of {classes} classes do not exist")
        if 2**self.index_bits < classes:
            raise InvalidRequestError(
                f"{self.index_bits} bits cannot name one of {classes} classes"
            )
        return self.k * (self.value_bits + self.index_bits)

    def __str__(self) -> str:
        """`top-k:10`, with the numbers of bits if they are not 16 and 16."""
        plain = (self.value_bits, self.index_bits) == (16, 16)
        return f"top-k:{self.k}" + ("" if plain else f":{self.value_bits}:{self.index_bits}")


@dataclass(frozen=True, slots=True)
class Codes:
    """Integers into codebooks: the VQAE.

    Attributes:
        codes: codes per label, M.
        codebook_size: codewords per codebook, K.
    """

    codes: int
    codebook_size: int

    def __post_init__(self) -> None:
        _bounded("codes a label (M)", self.codes, 1, 2**20)
        _bounded("the codebook size (K)", self.codebook_size, 2, MAX_CODEBOOK)

    def payload_bits(self, classes: int) -> int:
        """M · ⌈log2 K⌉, up to whole bytes: rows of labelcast have a fixed stride in bytes."""
        return -(-self.codes * (self.codebook_size - 1).bit_length() // 8) * 8

    def __str__(self) -> str:
        """`codes:8:256`."""
        return f"codes:{self.codes}:{self.codebook_size}"


@dataclass(frozen=True, slots=True)
class Hard:
    """The class alone."""

    def payload_bits(self, classes: int) -> int:
        """⌈log2 C⌉, and at least one bit."""
        return max((classes - 1).bit_length(), 1)

    def __str__(self) -> str:
        """`hard`."""
        return "hard"


def parse_form(text: str) -> LabelForm:
    """Read a form as the command line spells it.

    Args:
        text: `fp16`, `fp32`, `top-k:K`, `top-k:K:VALUE_BITS:INDEX_BITS`, `codes:M:K` or `hard`.

    Raises:
        InvalidRequestError: the text is none of these.
    """
    name, *words = text.split(":")
    if all(word.isascii() and word.isdigit() and len(word) <= 12 for word in words):
        match name, [int(word) for word in words]:
            case "fp16" | "fp32", []:
                return Dense(int(name.removeprefix("fp")))
            case "hard", []:
                return Hard()
            case "top-k", [k]:
                return TopK(k)
            case "top-k", [k, value_bits, index_bits]:
                return TopK(k, value_bits, index_bits)
            case "codes", [codes, codebook_size]:
                return Codes(codes, codebook_size)
    raise InvalidRequestError(
        f"{text!r} is no form of a label: use fp16, fp32, top-k:K, top-k:K:VALUE_BITS:INDEX_BITS,"
        " codes:M:K or hard"
    )


def _bounded(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InvalidRequestError(f"{what} must be {low} to {high}, not {value}")
