"""Pictures of a part, as labelcast takes a data set."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.imagenet.settings import CLASSES


@dataclass(frozen=True)
class Pictures:
    """A data set of labelcast: pictures, and what each was made of.

    Attributes:
        pixels: uint8, shape (N, height, width, 3).
        stamps: path of each picture's photograph within its package.
        wallpapers: path of each picture's wallpaper within its package.
        hard_labels: int64, shape (N,): the teacher's likeliest class of each whole picture.
    """

    pixels: NDArray[np.uint8]
    stamps: list[str]
    wallpapers: list[str]
    hard_labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Image, float32 in [0, 1], shape (3, height, width), and its hard label."""
        pixels = torch.from_numpy(np.array(self.pixels[index]))
        return pixels.permute(2, 0, 1).float().div(255), int(self.hard_labels[index])

    @cached_property
    def sample_ids(self) -> NDArray[np.uint64]:
        """Positions."""
        return np.arange(len(self.pixels), dtype=np.uint64)

    @property
    def class_names(self) -> list[str]:
        """Numbers of ImageNet's classes."""
        return [str(number) for number in range(CLASSES)]

    @classmethod
    def open(cls, directory: Path | str, part: str, count: int | None = None) -> "Pictures":
        """Pictures that were made and labelled, or the first `count` of them.

        Args:
            directory: of all parts; commands name it by text.
            part: value of a `Part`.
            count: how many; all of them by default.
        """
        directory = Path(directory)
        facts = json.loads((directory / f"{part}.json").read_text())
        return cls(
            np.load(directory / f"{part}.npy", mmap_mode="r")[:count],
            facts["stamps"][:count],
            facts["wallpapers"][:count],
            np.array(facts["hard_labels"][:count], dtype=np.int64),
        )
