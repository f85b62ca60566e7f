"""Writes the pictures of all parts, with the teacher's hard labels."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from benchmarks.codec.queue import write_result
from benchmarks.imagenet.composites import composite
from benchmarks.imagenet.parts import TESTED, Part
from benchmarks.imagenet.photographs import Photographs, photographs
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.settings import PICTURE_SIZE, VIEW_SIZE
from benchmarks.imagenet.teacher import load
from benchmarks.imagenet.teacher_check import check_teacher
from labelcast.files import whole_file
from labelcast_producers.cli.progress_bar import progress_bar

_BATCH = 25


def write_pictures(place: Place, debian: Path) -> dict[str, Any]:
    """Make `images/<part>.npy` and `.json` of every part.

    Args:
        place: of the run.
        debian: directory that keeps Debian packages.

    Returns:
        What there is to say of them.

    Raises:
        ValueError: a package is not the pinned one, or the teacher does not know what it must.
        CalledProcessError: apt or dpkg failed, and has said why on stderr.
    """
    torch.set_num_threads(1)
    teacher = load()
    counts = {Part.TRAIN: place.scale.pictures}
    counts |= dict.fromkeys(TESTED, place.scale.tested_pictures)
    found = {part: photographs(part, debian) for part in counts}
    facts: dict[str, Any] = {"teacher": check_teacher(teacher, found[Part.TRAIN].stamp_root)}
    with progress_bar("pictures", "picture", quiet=False) as progress:
        progress(0, sum(counts.values()))
        done = 0
        for part, count in counts.items():
            facts[part] = _write_part(place, part, found[part], count, teacher)
            done += count
            progress(done, sum(counts.values()))
    return facts


def _write_part(
    place: Place, part: Part, of_part: Photographs, count: int, teacher: nn.Module
) -> dict[str, Any]:
    made = [composite(of_part, part, number, PICTURE_SIZE) for number in range(count)]
    pixels = np.stack([picture for picture, _, _ in made])
    hard = hard_labels(teacher, pixels)
    directory = place.directory / "images"
    directory.mkdir(parents=True, exist_ok=True)
    with whole_file(directory / f"{part}.npy") as partial, partial.open("wb") as file:
        np.save(file, pixels)
    stamps, wallpapers = [stamp for _, stamp, _ in made], [wallpaper for _, _, wallpaper in made]
    # Last: who finds it, finds the pixels.
    write_result(
        directory / f"{part}.json",
        {"stamps": stamps, "wallpapers": wallpapers, "hard_labels": hard.tolist()},
    )
    return {
        "pictures": count,
        "stamps": len(set(stamps)),
        "wallpapers": len(set(wallpapers)),
        "classes": len(set(hard.tolist())),
        "digest": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }


@torch.inference_mode()
def hard_labels(teacher: nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The teacher's likeliest class of whole pictures: int64, shape (N,).

    Args:
        teacher: images, float32 in [0, 1], (N, 3, height, width) → logits (N, C).
        pixels: uint8, shape (N, height, width, 3).
    """
    found = []
    for start in range(0, len(pixels), _BATCH):
        images = torch.from_numpy(pixels[start : start + _BATCH]).permute(0, 3, 1, 2).float() / 255
        seen = functional.interpolate(
            images, (VIEW_SIZE, VIEW_SIZE), mode="bilinear", antialias=True
        )
        found.append(teacher(seen).argmax(dim=1))
    classes: NDArray[np.int64] = torch.cat(found).numpy()
    return classes
