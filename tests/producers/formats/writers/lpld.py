"""LPLD: SRe2L's files for the first epochs only, and the IDs of every epoch in a JSON file."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tests.producers.formats.writers.batches import Batch, Record, Stored
from tests.producers.formats.writers.scaffold import save, writer
from tests.producers.formats.writers.sre2l import Sre2l

INDICES_NAME = "sampler_indices_epoch.json"


@dataclass(frozen=True, kw_only=True)
class Lpld(Sre2l):
    """The first `epochs` epochs.

    Attributes:
        cutout: the ImageNet-21K variant: seven floats a view instead of the flip.
        finished: whether generation ended, which is when the IDs are written.
    """

    drop_last: bool = True
    cutout: bool = False
    finished: bool = True

    def stored(self, batches: Sequence[Batch]) -> Iterator[Stored]:
        rng = np.random.default_rng([self.seed, 3])
        for batch, (record, columns) in zip(batches, super().stored(batches), strict=True):
            if self.cutout:
                shape = len(batch.sample_ids), 7
                record[1] = torch.from_numpy(rng.random(shape, dtype=np.float32))
                columns["flip"] = None
            yield record, columns

    def save(self, directory: Path, batches: Sequence[Batch], records: Sequence[Record]) -> None:
        super().save(directory, batches, records)
        if self.finished:
            # With those of an epoch's short last batch, which drop_last never stores.
            save(json.dumps(self.ids_of_epochs()), directory / INDICES_NAME)


write_lpld = writer(Lpld)
