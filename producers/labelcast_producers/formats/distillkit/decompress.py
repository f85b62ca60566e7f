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
import torch
from numpy.typing import NDArray

from labelcast_producers.formats.distillkit.config import FLOAT_BYTES, ResidualBin, Settings

Bytes = NDArray[np.uint8]


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
            tail += _fitted(
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


def _fitted(coefficients: NDArray[Any], settings: Settings) -> NDArray[np.float32]:
    dtype: torch.dtype = getattr(torch, settings.term_dtype)
    points = (
        torch.linspace(0, 1, settings.tail, dtype=dtype)
        if settings.normalize_t
        else torch.arange(settings.tail, dtype=dtype)
    )
    terms = [
        points**term if isinstance(term, int) else getattr(torch, term)(points)
        for term in settings.polynomial_terms
    ]
    weights = torch.from_numpy(coefficients).to(dtype)
    # (1, tail, terms) · (n, 1, terms), summed over the terms
    fitted = (torch.stack(terms, dim=-1) * weights[:, None, :]).sum(dim=-1)
    result: NDArray[np.float32] = fitted.float().numpy()
    return result


def _residuals(cut: _Cut, each: ResidualBin) -> NDArray[np.float32]:
    scale = cut.floats(1, each.scale_dtype)
    packed = cut.take(each.packed_bytes)
    levels = unpack_integers(packed, bits=each.element_bits, count=each.num_elements)
    # One bit is a sign; more bits are centred, with one more level below zero than above.
    signed = 2 * levels - 1 if each.element_bits == 1 else levels - 2 ** (each.element_bits - 1)
    result: NDArray[np.float32] = (signed.astype(np.float32) * scale).astype(np.float32)
    return result
