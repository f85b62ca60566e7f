"""G-VBSM: SRe2L's six and the sample IDs last."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tests.producers.formats.writers.batches import Batch, Stored
from tests.producers.formats.writers.scaffold import writer
from tests.producers.formats.writers.sre2l import Sre2l


@dataclass(frozen=True, kw_only=True)
class Gvbsm(Sre2l):
    """A list of seven for each batch of each epoch."""

    def stored(self, batches: Sequence[Batch]) -> Iterator[Stored]:
        for batch, (record, columns) in zip(batches, super().stored(batches), strict=True):
            yield [*record, torch.tensor(batch.sample_ids)], columns


write_gvbsm = writer(Gvbsm)
