"""Rounding to bf16: the upper half of an fp32 number, with its range."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMALLEST_NORMAL = np.float32(2.0**-126)


def bf16_nearest(values: NDArray[Any]) -> NDArray[np.float32]:
    """Round values of at least 0 to the nearest bf16; what is above 0 stays above it."""
    positive = np.where(values > 0, np.maximum(values, _SMALLEST_NORMAL), 0)
    bits = positive.astype(np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32)


def bf16_above(value: float) -> np.float32:
    """The next bf16 number that is above a value of at least 0."""
    bits = int(np.float32(max(value, float(_SMALLEST_NORMAL))).view(np.uint32))
    return np.uint32((bits & 0xFFFF0000) + 0x10000).view(np.float32)
