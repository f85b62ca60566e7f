"""Whether views may be as large as they usually are, where nobody said how large they were."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError
from labelcast_producers.formats.shared.image_sizes import image_sizes
from labelcast_producers.formats.source import USUAL_VIEW_SIZE

_MOST_IMAGES = 64
_MOST_CROPS = 1024
# Fractions that all fit a grid of a few hundred pixels by chance: less than one in 10⁸.
_TELLING_FRACTIONS = 16
_ROUNDING = {"float16": 2.0**-11, "float32": 1e-6, "float64": 1e-6}


def unusual_source_size(
    root: Path | None, names: Sequence[str], coords: NDArray[Any]
) -> tuple[int, int] | None:
    """How large the source images are, where that speaks against views of the usual size.

    Images of a thousand sizes are cropped and resized to 224 pixels; images of one other size, and
    smaller ones, mostly to their own.

    Args:
        root: directory of the images; None where they are not at hand.
        names: their paths below it.
        coords: crops as fractions of their images, shape (n, 4). Without images, the pixels that
            they are multiples of tell small images.

    Returns:
        Height and width, the largest where they differ; None where nothing speaks against it.
    """
    if root is None:
        height, width = (_grid(coords[:_MOST_CROPS, axis::2]) for axis in (0, 1))
        return (height, width) if height and width else None
    chosen = np.linspace(0, len(names) - 1, min(len(names), _MOST_IMAGES)).astype(int)
    sizes = image_sizes(root, [names[position] for position in chosen.tolist()])
    height, width = (int(side) for side in sizes.max(axis=0))
    one_square = height == width and bool((sizes == height).all())
    if (one_square and height != USUAL_VIEW_SIZE) or max(height, width) < USUAL_VIEW_SIZE:
        return height, width
    return None


def ask_for_view_size(source_size: tuple[int, int]) -> InvalidRequestError:
    """An error that asks for the option.

    Args:
        source_size: what `unusual_source_size` found.
    """
    height, width = source_size
    own = f" {height} if views are as large as the images," if height == width else ", which is"
    return InvalidRequestError(
        f"nothing says how large the views are, and images of {height} by {width} pixels speak"
        f" against the usual {USUAL_VIEW_SIZE}: give --view-size{own} {USUAL_VIEW_SIZE} if they"
        " were resized to that"
    )


def assumed_view_size(root: Path | None, names: Sequence[str], coords: NDArray[Any]) -> int:
    """The usual size.

    Args:
        root: as for `unusual_source_size`.
        names: of the images.
        coords: of the crops.

    Raises:
        InvalidRequestError: images speak against it; asks for the option.
    """
    source_size = unusual_source_size(root, names, coords)
    if source_size is not None:
        raise ask_for_view_size(source_size)
    return USUAL_VIEW_SIZE


def _grid(fractions: NDArray[Any]) -> int | None:
    """The least number of pixels, below the usual size, that all fractions are multiples of."""
    values = np.unique(fractions)
    values = values[(values > 0) & (values < 1)]
    if len(values) < _TELLING_FRACTIONS:
        return None
    rounding = _ROUNDING[values.dtype.name]
    exact = values.astype(np.float64)
    for size in range(2, USUAL_VIEW_SIZE):
        pixels = exact * size
        if (np.abs(pixels - np.rint(pixels)) <= 2 * rounding * pixels).all():
            return size
    return None
