"""The pixels that a producer's own loader renders from a record, and images to render.

Independent of this project: PIL does what torchvision asks of it for PIL images.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from tests.producers.formats.writers.views import image_names


def render_view(image: Image.Image, coords: Sequence[float], flip: bool, view: int) -> Tensor:
    """Crop, resize and flip one RGB image: float32 (3, view, view) in [0, 1].

    Args:
        image: the source.
        coords: top, left, height and width as fractions of it.
        flip: mirror the crop.
        view: side of the result.
    """
    top, left, h, w = (float(value) for value in coords)
    top, h = top * image.height, h * image.height
    left, w = left * image.width, w * image.width
    box = (round(left), round(top), round(left + w), round(top + h))
    crop = image.crop(box).resize((view, view), Image.Resampling.BILINEAR)
    if flip:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(crop, dtype=np.uint8)
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32) / 255)


def cutmix_batch(views: Tensor, mix_index: Tensor, box: Sequence[int]) -> Tensor:
    """Paste the boxes, rows first, of NCHW views' partners, which are the unmixed views."""
    bbx1, bby1, bbx2, bby2 = (int(edge) for edge in box)
    mixed = views.clone()
    mixed[:, :, bbx1:bbx2, bby1:bby2] = views[mix_index.long()][:, :, bbx1:bbx2, bby1:bby2]
    return mixed


def mixup_batch(views: Tensor, mix_index: Tensor, lam: float) -> Tensor:
    """Blend NCHW views with their partners, which are the unmixed views."""
    return lam * views + (1 - lam) * views[mix_index.long()]


def write_image_folder(
    directory: Path, *, samples: int, classes: int, seed: int = 0, smallest: int = 24
) -> tuple[list[Path], list[int]]:
    """Write PNGs of different sizes in class directories.

    Args:
        directory: that gets the class directories.
        samples: images, about equally many of each class.
        classes: directories.
        seed: of all that is drawn.
        smallest: the least side of an image.

    Returns:
        The paths sorted as an ImageFolder sorts them, and the class of each. Their sizes, for the
        writers, are what PIL says of them.
    """
    rng = np.random.default_rng([seed, 13])
    paths = [directory / name for name in image_names(samples, classes)]
    labels = [number * classes // samples for number in range(samples)]
    for number, (path, label) in enumerate(zip(paths, labels, strict=True)):
        path.parent.mkdir(parents=True, exist_ok=True)
        width = smallest + int(rng.integers(2 * smallest))
        height = smallest + number % (2 * smallest)
        _picture(rng, label, width, height).save(path)
    return paths, labels


def folder_sizes(paths: Sequence[Path]) -> list[tuple[int, int]]:
    """Height and width of each image."""
    sizes = []
    for path in paths:
        with Image.open(path) as image:
            sizes.append((image.height, image.width))
    return sizes


def _picture(rng: np.random.Generator, label: int, width: int, height: int) -> Image.Image:
    """A two-colour gradient with shapes on it, of which no two crops look alike."""
    corners = rng.integers(256, size=(2, 3))
    down = np.linspace(0, 1, height)[:, None, None]
    across = np.linspace(0, 1, width)[None, :, None]
    weight = (down + across * (label + 1)) / (label + 2)
    pixels = corners[0] * (1 - weight) + corners[1] * weight
    image = Image.fromarray(pixels.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for number in range(6):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        reach = 2 + int(rng.integers(min(width, height) // 4))
        colour = tuple(int(value) for value in rng.integers(256, size=3))
        box = (x - reach, y - reach // 2, x + reach, y + reach)
        (draw.ellipse if (number + label) % 2 else draw.rectangle)(box, fill=colour)
    draw.line((0, height - 1, width - 1, 0), fill=(255, 255, 255), width=2)
    return image
