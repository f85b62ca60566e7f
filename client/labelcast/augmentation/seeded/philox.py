"""Philox 4×32-10 (Salmon et al., SC 2011), written out in numpy integers.

Counter-based: the numbers of a view depend only on its own counter, so any view can be drawn at any
time, in any order, on any machine. Library samplers promise neither the same bits across versions
nor speed with one generator per view.
"""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(counter: tuple[Words, Words, Words, Words], key: int) -> NDArray[np.uint32]:
    """One block of four random words for each counter.

    Args:
        counter: four uint32 arrays of one shape (N,), or broadcast to it.
        key: 64 bits.

    Returns:
        uint32, shape (4, N).
    """
    x0, x1, x2, x3 = (np.asarray(word).astype(np.uint64) for word in counter)
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        product0, product1 = _MULTIPLIERS[0] * x0, _MULTIPLIERS[1] * x2
        x0, x1, x2, x3 = (
            (product1 >> _HALF) ^ x1 ^ np.uint64(k0),
            product1 & _LOW,
            (product0 >> _HALF) ^ x3 ^ np.uint64(k1),
            product0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack(np.broadcast_arrays(x0, x1, x2, x3)).astype(np.uint32)
