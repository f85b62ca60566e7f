"""Thumbnails of views: means over a grid of 8 × 8 cells."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 8
"""Cells per side."""

PIXEL_TOLERANCE = 2.0
"""What a mean may differ by, in steps: a range of pixels has 255."""


def thumbnails(images: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of each cell, whatever the size of the images: edges of cells may divide pixels.

    Args:
        images: float, shape (N, channels, height, width).

    Returns:
        float64, shape (N, channels, 8, 8).
    """
    rows, columns = (_shares(size) for size in images.shape[2:])
    # One by one: in double precision a batch of photographs would take eight times its room.
    means = [rows @ image.astype(np.float64) @ columns.T for image in images]
    return np.stack(means) if means else np.empty((0, images.shape[1], SIDE, SIDE))


def _shares(size: int) -> NDArray[np.float64]:
    """Share of each pixel in each cell along one axis: float64, shape (8, size), rows sum to 1."""
    edges = np.arange(SIDE + 1) * size / SIDE
    pixels = np.arange(size)
    begins = np.maximum(edges[:-1, None], pixels)
    ends = np.minimum(edges[1:, None], pixels + 1)
    shares: NDArray[np.float64] = np.maximum(ends - begins, 0.0) * SIDE / size
    return shares
