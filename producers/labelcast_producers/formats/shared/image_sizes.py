"""Heights and widths of images, from their headers alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from labelcast.errors import DataError


def image_sizes(root: Path, names: Sequence[str]) -> NDArray[np.int64]:
    """Height and width of some images.

    Args:
        root: directory of the images.
        names: n paths below it.

    Returns:
        int64, shape (n, 2).

    Raises:
        DataError: a file is missing, damaged or no image; names it.
    """
    sizes = np.empty((len(names), 2), dtype=np.int64)
    for row, name in enumerate(names):
        path = root / name
        try:
            with Image.open(path) as image:
                sizes[row] = image.height, image.width
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{path} cannot be read as an image: {error}; fetch it again", path=path
            ) from None
    return sizes
