"""How DistillKit cuts the log-probabilities and indices of a token into bytes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from labelcast.codec.base import integer
from labelcast.errors import CodecFormatError

FLOAT_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
SPECIAL_TERMS = ("sqrt", "exp")
# DistillKit allows 64, but float32 scales hold no more than 24 bits and none were seen above 16.
MAX_ELEMENT_BITS = 32
MAX_LISTED = 64


@dataclass(frozen=True, slots=True)
class ResidualBin:
    """Residuals of the tail that share a scale.

    Attributes:
        scale_dtype: a key of `FLOAT_BYTES`.
        element_bits: bits of one quantised residual.
        num_elements: number of residuals in the bin.
    """

    scale_dtype: str
    element_bits: int
    num_elements: int

    @property
    def packed_bytes(self) -> int:
        """Size of the quantised residuals in bytes, without the scale."""
        return -(-self.element_bits * self.num_elements // 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the log-probabilities and indices of one token are cut into bytes.

    Attributes:
        d: size of the vocabulary.
        k: log-probabilities per token.
        exact_k: number of them that are stored exactly; the others are the tail.
        exact_dtype: a key of `FLOAT_BYTES`.
        polynomial_terms: terms of the fit to the tail: powers, or names in `SPECIAL_TERMS`.
        term_dtype: a key of `FLOAT_BYTES`: type of the coefficients and of the fit's arithmetic.
        residual_bins: bins in the order in which they cover the tail, which may extend beyond them.
        delta_encoding: whether values are differences to the previous value.
        normalize_t: whether the fit runs over 0 to 1 instead of 0, 1, 2, and so on.
    """

    d: int
    k: int
    exact_k: int
    exact_dtype: str
    polynomial_terms: tuple[int | str, ...]
    term_dtype: str
    residual_bins: tuple[ResidualBin, ...]
    delta_encoding: bool
    normalize_t: bool

    @property
    def tail(self) -> int:
        """Number of log-probabilities that are fitted or quantised."""
        return self.k - self.exact_k

    @property
    def value_bytes(self) -> int:
        """Length of one byte string of `compressed_logprobs`."""
        exact = self.exact_k * FLOAT_BYTES[self.exact_dtype]
        fit = len(self.polynomial_terms) * FLOAT_BYTES[self.term_dtype]
        bins = (FLOAT_BYTES[each.scale_dtype] + each.packed_bytes for each in self.residual_bins)
        return exact + fit + sum(bins)

    @property
    def index_bits(self) -> int:
        """⌈log2 d⌉."""
        return (self.d - 1).bit_length()

    @property
    def index_bytes(self) -> int:
        """Length of one byte string of `bytepacked_indices`."""
        return -(-self.index_bits * self.k // 8)

    @classmethod
    def json_keys(cls) -> list[str]:
        """Keys of `as_json`."""
        return [field.name for field in fields(cls) if field.name != "d"]

    def as_json(self) -> dict[str, Any]:
        """JSON value of everything but `d`."""
        value = asdict(self) | {
            "polynomial_terms": list(self.polynomial_terms),
            "residual_bins": [asdict(each) for each in self.residual_bins],
        }
        return {name: value[name] for name in self.json_keys()}

    @classmethod
    def from_json(cls, d: int, value: Mapping[str, Any]) -> Self:
        """Parse and check.

        Raises:
            CodecFormatError: missing, of another type, out of bounds, or contradicting each other.
        """
        k = integer(value, "k", 1, d)
        exact_k = integer(value, "exact_k", 0, k)
        terms, bins = _listed(value, "polynomial_terms"), _listed(value, "residual_bins")
        settings = cls(
            d=d,
            k=k,
            exact_k=exact_k,
            exact_dtype=_float_name(value, "exact_dtype"),
            polynomial_terms=tuple(_term(each) for each in terms),
            term_dtype=_float_name(value, "term_dtype"),
            residual_bins=tuple(_bin(each, k - exact_k) for each in bins),
            delta_encoding=_flag(value, "delta_encoding"),
            normalize_t=_flag(value, "normalize_t"),
        )
        covered = sum(each.num_elements for each in settings.residual_bins)
        if covered > settings.tail or (settings.tail and not (terms or bins)):
            raise CodecFormatError(
                f"polynomial_terms and {covered} elements of residual_bins do not fit a tail of"
                f" {settings.tail}"
            )
        return settings


def _listed(value: Mapping[str, Any], name: str) -> list[Any]:
    found = value.get(name)
    if not isinstance(found, list) or len(found) > MAX_LISTED:
        raise CodecFormatError(f"codec parameter {name} is not a list of at most {MAX_LISTED}")
    return found


def _term(value: object) -> int | str:
    if (type(value) is int and 0 <= value < MAX_LISTED) or value in SPECIAL_TERMS:
        return value
    raise CodecFormatError(f"polynomial term {value!r} is unknown")


def _bin(value: object, tail: int) -> ResidualBin:
    names = {field.name for field in fields(ResidualBin)}
    if not isinstance(value, Mapping) or set(value) != names:
        raise CodecFormatError(f"residual bin {value!r} is none of DistillKit's")
    return ResidualBin(
        _float_name(value, "scale_dtype"),
        integer(value, "element_bits", 1, MAX_ELEMENT_BITS),
        integer(value, "num_elements", 1, max(tail, 1)),
    )


def _float_name(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or found not in FLOAT_BYTES:
        raise CodecFormatError(f"codec parameter {name} is {found!r}, no type of numbers")
    return found


def _flag(value: Mapping[str, Any], name: str) -> bool:
    found = value.get(name)
    if type(found) is not bool:
        raise CodecFormatError(f"codec parameter {name} is {found!r}, must be true or false")
    return found
