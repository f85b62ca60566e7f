"""EDC: SRe2L's six, the sample IDs and how each image's four patches were shuffled."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tests.producers.formats.writers.batches import Batch, Stored
from tests.producers.formats.writers.gvbsm import Gvbsm
from tests.producers.formats.writers.scaffold import writer


@dataclass(frozen=True, kw_only=True)
class Edc(Gvbsm):
    """A list of eight for each batch of each epoch.

    The permutation is int64 [B, 2, 2]: what the 2 x 2 grid holds are the numbers 0 to 3 of the
    patches, counted by rows.
    """

    def stored(self, batches: Sequence[Batch]) -> Iterator[Stored]:
        generator = torch.Generator().manual_seed(self.seed + 1)
        for batch, (record, columns) in zip(batches, super().stored(batches), strict=True):
            patches = torch.stack(
                [torch.randperm(4, generator=generator).view(2, 2) for _ in batch.sample_ids]
            )
            yield [*record, patches], columns | {"patches": patches.numpy()}


write_edc = writer(Edc)
