"""EDC: SRe2L's six, the sample IDs and how each image's four patches were shuffled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tests.producers.formats.writers.batches import Batch, Stored
from tests.producers.formats.writers.gvbsm import Gvbsm
from tests.producers.formats.writers.scaffold import writer


@dataclass(frozen=True, kw_only=True)
class Edc(Gvbsm):
    """A list of eight for each batch of each epoch.

    Crops are divided by the image's other side: top and height by its width, left and width by its
    height. Its images are distilled, so they are square unless `sizes` says otherwise.

    Attributes:
        shuffled: as until February 2024: int64 [B, 2, 2], the order of two columns and that of two
            rows. Since then patches are not shuffled: int32 zeros of the same shape.
    """

    shuffled: bool = False

    def __post_init__(self) -> None:
        if self.sizes is None:
            object.__setattr__(self, "sizes", [(self.view, self.view)] * self.samples)

    def stored(self, batches: Sequence[Batch]) -> Iterator[Stored]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        for batch, (record, columns) in zip(batches, super().stored(batches), strict=True):
            count = len(batch.sample_ids)
            orders = torch.zeros(count, 2, 2, dtype=torch.int32)
            patches = np.tile(np.arange(4).reshape(2, 2), (count, 1, 1))
            if self.shuffled:
                drawn = [torch.randperm(2, generator=generator) for _ in range(2 * count)]
                orders = torch.stack(drawn).view(count, 2, 2)
                patches = np.stack([_shuffled(*order.tolist()) for order in orders])
            record[0] = self._exchanged(batch)
            yield [*record, orders], columns | {"patches": patches}

    def _exchanged(self, batch: Batch) -> torch.Tensor:
        assert self.sizes is not None
        height, width = torch.tensor([self.sizes[sample] for sample in batch.sample_ids]).T.double()
        sides = torch.stack([height, width, height, width], dim=1)
        pixels = (batch.coords.double() * sides).round()
        return (pixels / sides[:, [1, 0, 3, 2]]).float()


def _shuffled(columns: list[int], rows: list[int]) -> np.ndarray:
    """The numbers of the patches at each place, once columns and then rows were put in order."""
    return np.arange(4).reshape(2, 2)[:, columns][rows]


write_edc = writer(Edc)
