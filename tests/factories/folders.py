"""A folder of real images: scanned digits, ten classes, as people have them on disk."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

PER_CLASS = 6
SIDE = 16


def write_digits(root: Path, *, per_class: int = PER_CLASS) -> Path:
    """`root/digit/NN.png`, the first scans of each digit, at twice their size."""
    digits = _scanned_digits()
    for digit in range(10):
        (root / str(digit)).mkdir(parents=True)
        scans = digits.images[digits.target == digit][:per_class]
        for number, scan in enumerate(scans):
            grey = Image.fromarray((scan / 16 * 255).astype(np.uint8))
            grey.resize((SIDE, SIDE)).save(root / str(digit) / f"{number:02d}.png")
    return root


class NearestMean(nn.Module):
    """Logits by the distance from each digit's mean scan: a real classifier without training."""

    def __init__(self) -> None:
        super().__init__()
        digits = _scanned_digits()
        scans = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
        large = nn.functional.interpolate(scans, size=(SIDE, SIDE), mode="bilinear").flatten(1)
        target = torch.tensor(digits.target)
        means = torch.stack([large[target == digit].mean(0) for digit in range(10)])
        self.means = nn.Parameter(means, requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return -torch.cdist(images.mean(dim=1).flatten(1), self.means)


def without_first_image(folder: Path) -> None:
    """One image is gone, so that every later one moves up."""
    (folder / "0" / "00.png").unlink()


def with_image_renamed_in_its_class(folder: Path) -> None:
    """The first image of each class sorts last."""
    for digit in range(10):
        (folder / str(digit) / "00.png").rename(folder / str(digit) / "99.png")


def with_a_class_more(folder: Path) -> None:
    """An eleventh class, which sorts last."""
    shutil.copytree(folder / "9", folder / "a")


def with_a_class_renamed(folder: Path) -> None:
    """As many classes under other names."""
    (folder / "9").rename(folder / "nine")


def with_image_encoded_again(folder: Path) -> None:
    """The same pixels in other bytes."""
    path = folder / "4" / "03.png"
    with Image.open(path) as image:
        image.copy().save(path, compress_level=1)


def with_image_replaced(folder: Path) -> None:
    """Another image of the same class under the same name."""
    shutil.copyfile(folder / "4" / "01.png", folder / "4" / "03.png")


def _scanned_digits() -> Any:
    # Imported for seconds, by every process that collects the tests.
    from sklearn.datasets import load_digits

    return load_digits()
