"""The bytes that a fingerprint is."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

FINGERPRINT_BYTES = 8


def fingerprint(content: bytes | memoryview) -> int:
    """First eight bytes of a SHA-256, as a little-endian integer."""
    return int.from_bytes(hashlib.sha256(content).digest()[:FINGERPRINT_BYTES], "little")


def pixel_fingerprint(pixels: NDArray[Any]) -> int:
    """Fingerprint of an image: over its shape and its pixels as little-endian float32."""
    return int.from_bytes(pixel_digest(pixels)[:FINGERPRINT_BYTES], "little")


def pixel_digest(pixels: NDArray[Any]) -> bytes:
    """The SHA-256 that `pixel_fingerprint` is the beginning of."""
    shape = repr(tuple(pixels.shape)).encode()
    return hashlib.sha256(shape + np.ascontiguousarray(pixels).astype("<f4").tobytes()).digest()


def token_fingerprint(token_ids: NDArray[np.integer]) -> int:
    """Fingerprint of a sequence: over its token IDs as little-endian uint32.

    Args:
        token_ids: integers from 0 to 2³² − 1, shape (n,).
    """
    return fingerprint(np.ascontiguousarray(token_ids).astype("<u4").tobytes())
