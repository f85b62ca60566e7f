"""How DistillKit cuts the log-probabilities and indices of a token into bytes."""

from dataclasses import dataclass

FLOAT_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
SPECIAL_TERMS = ("sqrt", "exp")
# DistillKit allows 64, but float32 scales hold no more than 24 bits and none were seen above 16.
MAX_ELEMENT_BITS = 32


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
