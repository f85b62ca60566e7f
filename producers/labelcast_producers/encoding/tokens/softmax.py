"""Logits → the probabilities that encoders work with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import CodecHeader
from labelcast.codec.ranking import largest


@dataclass(frozen=True, eq=False, slots=True)
class TopClasses:
    """The likeliest classes of each row.

    Attributes:
        ids: int64, shape (T, k), rising.
        log_ratios: float32, shape (T, k): logarithms of their probabilities, those of the likeliest
            class at 0.
        probabilities: float64, shape (T, k).
        others: float64, shape (T,): probability of all other classes together; 0 only if each is.
    """

    ids: NDArray[np.int64]
    log_ratios: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    others: NDArray[np.float64]


def temperature_of(header: CodecHeader) -> float:
    """The one temperature of labels that have one alone, as probabilities do; 1 for others."""
    ends = header.temperatures
    return ends.low if ends is not None and ends.low == ends.high else 1.0


def log_ratios(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Logarithms of probabilities, with the largest of each row at 0: newly allocated.

    Args:
        logits: float32, shape (T, V); -inf is a probability of 0.
        temperature: above 0.
    """
    ratios: NDArray[np.float32] = logits - logits.max(axis=1, keepdims=True)
    if temperature != 1:
        ratios /= np.float32(temperature)
    return ratios


def top_classes(logits: NDArray[np.float32], temperature: float, k: int) -> TopClasses:
    """Find the k likeliest classes of each row; of equal ones, those of the lowest IDs."""
    ratios = log_ratios(logits, temperature)
    ids = largest(ratios, k)
    chosen = np.take_along_axis(ratios, ids, axis=1)
    np.exp(ratios, out=ratios)
    totals = ratios.sum(axis=1, dtype=np.float64)
    # Summed by themselves: a difference of sums would leave some where there is none.
    np.put_along_axis(ratios, ids, 0, axis=1)
    others = ratios.sum(axis=1, dtype=np.float64) / totals
    probabilities = np.exp(chosen, dtype=np.float64) / totals[:, None]
    return TopClasses(ids, chosen, probabilities, others)
