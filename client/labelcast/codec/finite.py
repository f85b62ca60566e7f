"""Whether values are finite, as fast as numpy can tell."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Fits a core's cache.
_FINITE_BLOCK = 2**18


def all_finite(values: NDArray[Any]) -> bool:
    """Whether no value is NaN or infinity.

    Half precision is checked as integers, by the exponent: numpy widens every half before it
    checks, which took a third of the time of an import.
    """
    if values.dtype != np.float16 or not values.flags.c_contiguous:
        return bool(np.isfinite(values).all())
    bits = values.reshape(-1).view(np.uint16)
    blocks = (bits[at : at + _FINITE_BLOCK] for at in range(0, len(bits), _FINITE_BLOCK))
    return all(int((block & 0x7FFF).max()) < 0x7C00 for block in blocks)
