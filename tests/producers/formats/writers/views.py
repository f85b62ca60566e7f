"""Random crops, CutMix boxes, epoch orders and a made-up teacher, as the producers draw them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import RandomSampler

Order = Literal["current", "old"]
Size = tuple[int, int]
Crop = tuple[int, int, int, int]

ORDER_SEED = 42


def epoch_orders(samples: int, epochs: int, order: Order = "current") -> list[list[int]]:
    """The order of each epoch, from one generator seeded once.

    Args:
        samples: in the data set.
        epochs: to draw.
        order: "current" is what the installed torch draws, whose sampler takes a second permutation
            an epoch and keeps none of it; "old" takes one, so that epoch 0 agrees and no other.
    """
    generator = torch.Generator().manual_seed(ORDER_SEED)
    if order == "old":
        return [torch.randperm(samples, generator=generator).tolist() for _ in range(epochs)]
    sampler = RandomSampler(range(samples), generator=generator)
    return [list(sampler) for _ in range(epochs)]


def image_sizes(samples: int) -> list[Size]:
    """Heights and widths of images that differ, as those of ImageNet do."""
    return [(300 + 37 * (number % 7), 280 + 53 * (number % 5)) for number in range(samples)]


def image_names(samples: int, classes: int, suffix: str = ".png") -> list[str]:
    """Paths in an ImageFolder, relative to it and sorted as it sorts them."""
    return [
        f"class_{number * classes // samples:03d}/image_{number:04d}{suffix}"
        for number in range(samples)
    ]


def draw_crop(
    rng: np.random.Generator,
    size: Size,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Crop:
    """Top, left, height and width in pixels, by RandomResizedCrop's ten tries and fallback."""
    height, width = size
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(w / ratio[0])
    elif width / height > ratio[1]:
        w = round(h * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


def fractions(crop: Crop, size: Size) -> tuple[float, float, float, float]:
    """A crop in pixels as fractions of its source image."""
    top, left, h, w = crop
    height, width = size
    return top / height, left / width, h / height, w / width


def draw_box(rng: np.random.Generator, lam: float, shape: Sequence[int]) -> list[np.int64]:
    """A CutMix box of NCHW images: bbx1, bby1, bbx2, bby2.

    The producers call dimension 2 the width. It holds the rows, which is why bbx are rows.
    """
    W, H = shape[2], shape[3]
    cut = np.sqrt(1.0 - lam)
    cut_w, cut_h = int(W * cut), int(H * cut)
    cx, cy = rng.integers(W), rng.integers(H)
    return [
        np.int64(np.clip(cx - cut_w // 2, 0, W)),
        np.int64(np.clip(cy - cut_h // 2, 0, H)),
        np.int64(np.clip(cx + cut_w // 2, 0, W)),
        np.int64(np.clip(cy + cut_h // 2, 0, H)),
    ]


@dataclass(frozen=True)
class DrawnViews:
    """Views of some samples, in their order.

    Attributes:
        crops: top, left, height and width in pixels.
        coords: the same as fractions, float32 (n, 4).
        flip: bool (n,).
        logits: float32 (n, C).
    """

    crops: list[Crop]
    coords: NDArray[np.float32]
    flip: NDArray[np.bool_]
    logits: Tensor


class ViewDraws:
    """Crops, flips and a made-up teacher's logits, one after the other from one generator.

    Args:
        samples, classes: of the data set.
        seed: of all that is drawn; same arguments, same base logits.
        stream: what tells the draws of one format from those of another.
        sizes: (height, width) of each image.
    """

    def __init__(
        self,
        samples: int,
        classes: int,
        seed: int,
        *,
        stream: int,
        sizes: Sequence[Size] | None = None,
    ) -> None:
        self.rng = np.random.default_rng([seed, stream])
        self._sizes = sizes or image_sizes(samples)
        self._base = np.random.default_rng([seed, 1]).normal(0, 1.5, (samples, classes))
        own = np.arange(samples)
        self._base[own, own * classes // samples] += 6

    def logits(self, sample_ids: Sequence[int]) -> Tensor:
        """Logits of one view of each sample: they depend on the sample and, less, on the view."""
        views = self._base[np.array(sample_ids, dtype=np.int64)]
        return torch.from_numpy((views + self.rng.normal(0, 0.5, views.shape)).astype(np.float32))

    def views(self, sample_ids: Sequence[int]) -> DrawnViews:
        """One view of each sample."""
        sizes = [self._sizes[sample] for sample in sample_ids]
        crops = [draw_crop(self.rng, size) for size in sizes]
        shares = [fractions(crop, size) for crop, size in zip(crops, sizes, strict=True)]
        flip = self.rng.random(len(sizes)) < 0.5
        coords = np.array(shares, dtype=np.float32)
        return DrawnViews(crops, coords, flip, self.logits(sample_ids))
