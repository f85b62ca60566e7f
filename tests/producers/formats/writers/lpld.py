"""LPLD: SRe2L's files for the first epochs only, and the IDs of every epoch in a JSON file."""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import RandomSampler

from tests.producers.formats.writers.batches import Batch, Record, Stored
from tests.producers.formats.writers.scaffold import save, writer
from tests.producers.formats.writers.sre2l import Sre2l
from tests.producers.formats.writers.views import ORDER_SEED, epoch_orders

INDICES_NAME = "sampler_indices_epoch.json"


@dataclass(frozen=True, kw_only=True)
class Lpld(Sre2l):
    """The first `epochs` epochs, and one too many where these are whole.

    The generator leaves an epoch at the last batch that it wants, and checks for no other: where
    that batch ended an epoch, one more is labelled as a whole, in the order that the abandoned
    sampler had kept for later.

    Attributes:
        cutout: the ImageNet-21K variant: seven floats a view instead of the flip.
        finished: whether generation ended, which is when the IDs are written.
    """

    drop_last: bool = True
    cutout: bool = False
    finished: bool = True

    @property
    def num_batches(self) -> int:
        wanted = super().num_batches
        return wanted + (0 if wanted % self.batches_per_epoch else self.batches_per_epoch)

    def orders(self) -> list[list[int]]:
        wanted = self.num_batches // self.batches_per_epoch - 1
        if self.num_batches % self.batches_per_epoch:
            return super().orders()
        if self.order == "old":
            return epoch_orders(self.samples, wanted + 1, "old")
        sampler = RandomSampler(
            range(self.samples), generator=torch.Generator().manual_seed(ORDER_SEED)
        )
        orders = [list(sampler) for _ in range(wanted - 1)]
        abandoned = list(itertools.islice(sampler, self.samples))
        return [*orders, abandoned, list(sampler)]

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
            ids: dict[str, list[int]] = {}
            for batch in batches:
                ids.setdefault(str(batch.epoch), []).extend(batch.sample_ids)
            save(json.dumps(ids), directory / INDICES_NAME)


write_lpld = writer(Lpld)
