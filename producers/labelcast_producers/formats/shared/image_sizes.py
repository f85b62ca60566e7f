"""Heights and widths of images, from their headers alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from labelcast.errors import DataError
from labelcast.torch.images.image_folder import ImageFolder


def image_sizes(folder: ImageFolder, positions: Sequence[int]) -> NDArray[np.int64]:
    """Height and width of some images.

    Args:
        folder: of the images.
        positions: in the order of the folder, n of them.

    Returns:
        int64, shape (n, 2).

    Raises:
        DataError: a file is missing, damaged or no image; names it.
    """
    sizes = np.empty((len(positions), 2), dtype=np.int64)
    for row, position in enumerate(positions):
        path = folder.root / folder.paths[position]
        try:
            with Image.open(path) as image:
                sizes[row] = image.height, image.width
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise DataError(
                f"{path} cannot be read as an image: {error}; replace or remove it", path=path
            ) from None
    return sizes
