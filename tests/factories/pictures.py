"""A small data set of random pictures, which other processes can import."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

CLASSES = [f"class {number}" for number in range(5)]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures whose IDs are large, sparse and in no order.

    Args:
        count: items.
        height, width: pixels.
        channels: of each picture.
        seed: same arguments, same pictures.
    """

    def __init__(
        self, count: int = 12, height: int = 6, width: int = 6, *, channels: int = 2, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.pixels = torch.from_numpy(
            rng.random((count, channels, height, width), dtype=np.float32)
        )
        ids = 2**40 + 10**9 * np.arange(count, dtype=np.uint64)
        self.sample_ids = rng.permutation(ids)
        self.labels: list[int] = rng.integers(len(CLASSES), size=count).tolist()
        self.class_names: Sequence[str] = CLASSES

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.pixels[index], self.labels[index]

    def picture(self, sample_id: int) -> Tensor:
        return self.pixels[int(np.flatnonzero(self.sample_ids == sample_id)[0])]
