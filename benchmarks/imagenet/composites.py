"""Pictures: a photograph of a thing on a crop of a wallpaper."""

import random
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.imagenet.parts import Part
from benchmarks.imagenet.photographs import Photographs
from benchmarks.imagenet.settings import CROP_SHARE, THING_SHARE, WALLPAPER_SIDE

_FILTER = Image.Resampling.BILINEAR


def composite(
    photographs: Photographs, part: Part, number: int, size: int
) -> tuple[NDArray[np.uint8], str, str]:
    """Make one picture: the same every time.

    Args:
        photographs: of the part.
        part: gives other pictures of the same number.
        number: every thing is shown once before one is shown again.
        size: pixels a side.

    Returns:
        uint8, shape (size, size, 3), and the names of the stamp and of the wallpaper.
    """
    # Seeded with text and asked for `random` alone, which Python promises to keep as they are.
    draw = random.Random(f"{part} {number}")
    stamp = photographs.stamps[number % len(photographs.stamps)]
    wallpaper = photographs.wallpapers[int(draw.random() * len(photographs.wallpapers))]
    picture = _crop(_wallpaper(photographs.wallpaper_root / wallpaper), draw, size)
    with Image.open(photographs.stamp_root / stamp) as file:
        shown = file.convert("RGBA")
    longer = size * _between(draw, *THING_SHARE)
    scale = longer / max(shown.size)
    width, height = (max(1, round(side * scale)) for side in shown.size)
    shown = shown.resize((width, height), _FILTER)
    left, top = (int(draw.random() * (size - side + 1)) for side in (width, height))
    picture.paste(shown, (left, top), shown)
    return np.array(picture), stamp, wallpaper


@cache
def _wallpaper(path: Path) -> Image.Image:
    with Image.open(path) as file:
        whole = file.convert("RGB")
    scale = WALLPAPER_SIDE / min(whole.size)
    return whole.resize((round(whole.width * scale), round(whole.height * scale)), _FILTER)


def _crop(wallpaper: Image.Image, draw: random.Random, size: int) -> Image.Image:
    side = round(min(wallpaper.size) * _between(draw, *CROP_SHARE))
    left = int(draw.random() * (wallpaper.width - side + 1))
    top = int(draw.random() * (wallpaper.height - side + 1))
    box = (left, top, left + side, top + side)
    return wallpaper.resize((size, size), _FILTER, box=box)


def _between(draw: random.Random, low: float, high: float) -> float:
    return low + draw.random() * (high - low)
