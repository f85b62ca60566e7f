"""Byte strings → class IDs and log-probabilities.

The bytes of one token, in order (facts: DistillKit's `monotonic_logprobs`):

    exact_k values of exact_dtype
    one coefficient of term_dtype for each polynomial term
    for each bin: a scale of scale_dtype, then its integers, MSB first, padded to a whole byte

Floats are little-endian. The tail is Σ coefficient · term(t), computed in term_dtype as DistillKit
computes it, plus the residuals of the bins, one after another. With delta encoding the values are
then summed up in float32. Finally DistillKit rounds to exact_dtype, which is left out here: it only
loses precision.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.sparse.distillkit.settings import FLOAT_BYTES, ResidualBin, Settings

Bytes = NDArray[np.uint8]
_FUNCTIONS = {"sqrt": np.sqrt, "exp": np.exp}


def unpack_integers(packed: Bytes, *, bits: int, count: int) -> NDArray[np.int64]:
    """Read integers that are packed without gaps, the highest bit first.

    Args:
        packed: uint8, shape (n, ceil(count * bits / 8)).
        bits: bits of one integer, 1 to 32.
        count: integers per row.

    Returns:
        int64, shape (n, count), newly allocated.
    """
    # An integer starts at any bit of a byte, so it touches up to `span` bytes.
    span = (bits + 14) // 8
    first_bits = np.arange(count) * bits
    columns = first_bits // 8
    padded = np.pad(packed, ((0, 0), (0, span)))
    values = np.zeros((len(packed), count), dtype=np.int64)
    for step in range(span):
        values = (values << 8) | padded[:, columns + step]
    return (values >> (8 * span - bits - first_bits % 8)) & ((1 << bits) - 1)


def class_ids(indices: Bytes, settings: Settings) -> NDArray[np.int64]:
    """Class IDs of n tokens as stored, unchecked: int64, shape (n, k)."""
    return unpack_integers(indices, bits=settings.index_bits, count=settings.k)


def log_probabilities(values: Bytes, settings: Settings) -> NDArray[np.float32]:
    """Decode log-probabilities of n tokens, unchecked.

    Args:
        values: uint8, shape (n, settings.value_bytes).
        settings: settings that they were written with.

    Returns:
        float32, shape (n, k), in the order of the class IDs, newly allocated. Damaged bytes may
        give NaN, infinity or positive values.
    """
    cut = _Cut(values)
    # Damaged scales and coefficients overflow; the reader refuses the result.
    with np.errstate(over="ignore", invalid="ignore"):
        exact = cut.floats(settings.exact_k, settings.exact_dtype).astype(np.float32)
        tail = np.zeros((len(values), settings.tail), dtype=np.float32)
        if settings.polynomial_terms:
            tail += fitted(
                cut.floats(len(settings.polynomial_terms), settings.term_dtype), settings
            )
        start = 0
        for each in settings.residual_bins:
            stop = start + each.num_elements
            tail[:, start:stop] += _residuals(cut, each)
            start = stop
        stored = np.concatenate([exact, tail], axis=1)
        if settings.delta_encoding:
            return np.cumsum(stored, axis=1, dtype=np.float32)
        return stored


class _Cut:
    """Takes the columns of byte rows from left to right."""

    def __init__(self, rows: Bytes) -> None:
        self._rows = rows
        self._at = 0

    def take(self, count: int) -> Bytes:
        """Take the next `count` bytes of each row, contiguous."""
        self._at += count
        return np.ascontiguousarray(self._rows[:, self._at - count : self._at])

    def floats(self, count: int, name: str) -> NDArray[Any]:
        """Take the next `count` numbers of each row: float16 to float64, newly allocated."""
        taken = self.take(count * FLOAT_BYTES[name])
        if name == "bfloat16":
            # The upper half of a float32.
            return (taken.view("<u2").astype(np.uint32) << 16).view(np.float32)
        return taken.view(np.dtype(name).newbyteorder("<")).astype(name)


def fitted(coefficients: NDArray[Any], settings: Settings) -> NDArray[np.float32]:
    """The polynomials through the tail: float32, shape (n, tail).

    Args:
        coefficients: as `as_stored` in the terms' type, shape (n, number of terms).
        settings: settings with polynomial terms.
    """
    name = settings.term_dtype
    # (1, tail, terms) · (n, 1, terms), summed over the terms
    products = term_values(settings) * coefficients[:, None, :]
    # Half precision is rounded after every step, but summed in fp32, as torch does it.
    sums = as_stored(as_stored(products, name).sum(axis=-1), name)
    return sums.astype(np.float32)


def term_values(settings: Settings) -> NDArray[Any]:
    """Every term at every place of the tail, rounded to the terms' type: shape (tail, terms)."""
    name = settings.term_dtype
    places = np.arange(settings.tail)
    points = _up_to_one(places, name) if settings.normalize_t else as_stored(places, name)
    points = points.astype(np.float64)
    terms = [
        points**term if isinstance(term, int) else _FUNCTIONS[term](points)
        for term in settings.polynomial_terms
    ]
    return as_stored(np.stack(terms, axis=-1), name)


def _up_to_one(places: NDArray[np.int64], name: str) -> NDArray[Any]:
    """Places divided by the last one, as torch's `linspace` divides: from both ends."""
    last = max(len(places) - 1, 1)
    step = as_stored(np.array(1 / last), name)

    def steps(count: NDArray[np.int64]) -> NDArray[Any]:
        whole = step * as_stored(count, name).astype(np.float64)
        return as_stored(whole, name) if FLOAT_BYTES[name] == 2 else whole

    from_both = np.where(places <= (last - 1) // 2, steps(places), 1 - steps(last - places))
    return as_stored(from_both, name)


def as_stored(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Round numbers to a type, a key of `FLOAT_BYTES`: float32, or float64 for that."""
    if name == "float64":
        return values.astype(np.float64)
    # Damaged files hold what overflows; the reader refuses the result.
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32)
        if name == "float16":
            return narrow.astype(np.float16).astype(np.float32)
    if name == "bfloat16":
        bits = narrow.view(np.uint32)
        # To the nearest, ties to even; infinity and NaN as they are.
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)
        return np.where(np.isfinite(narrow), rounded.astype(np.uint32).view(np.float32), narrow)
    return narrow


def _residuals(cut: _Cut, each: ResidualBin) -> NDArray[np.float32]:
    scale = cut.floats(1, each.scale_dtype)
    packed = cut.take(each.packed_bytes)
    levels = unpack_integers(packed, bits=each.element_bits, count=each.num_elements)
    # One bit is a sign; more bits are centred, with one more level below zero than above.
    signed = 2 * levels - 1 if each.element_bits == 1 else levels - 2 ** (each.element_bits - 1)
    result: NDArray[np.float32] = (signed.astype(np.float32) * scale).astype(np.float32)
    return result
