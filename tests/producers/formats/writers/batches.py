"""The augmented, batch-mixed epochs that SRe2L and all that grew from it store."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tests.producers.formats.writers.scaffold import Writer, save
from tests.producers.formats.writers.truth import Truth, joined
from tests.producers.formats.writers.views import Order, Size, ViewDraws, draw_box, epoch_orders

Record = list[Any]
Stored = tuple[Record, dict[str, Any]]
Mix = Literal["none", "cutmix", "mixup"]

BETA = {"cutmix": 1.0, "mixup": 0.8}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch of one epoch, before any producer has cast or packed it."""

    epoch: int
    number: int
    sample_ids: list[int]
    coords: Tensor
    flip: Tensor
    mix_index: Tensor | None
    lam: float | None
    box: list[np.int64] | None
    logits: Tensor

    def six(self, labels: Tensor) -> Record:
        """SRe2L's record."""
        return [self.coords, self.flip, self.mix_index, self.lam, self.box, labels]

    def truth(self, mix: Mix, columns: dict[str, Any]) -> Truth:
        """What a record of it says.

        Args:
            mix: of the batch.
            columns: of the truth, by name, as the format has them: the labels at least.
        """
        ids = np.array(self.sample_ids, dtype=np.uint64)
        seeds = np.full(len(ids), self.epoch, dtype=np.uint32)
        drawn: dict[str, Any] = {
            "sample_ids": ids,
            "seeds": seeds,
            "label_kind": "logits",
            "coords": self.coords.numpy(),
            "flip": self.flip.numpy(),
            "mix": mix,
        }
        if self.mix_index is not None:
            drawn |= {
                "partner_sample_ids": ids[self.mix_index.numpy()],
                "partner_seeds": seeds,
                "lam": np.full(len(ids), self.lam),
            }
        if self.box is not None:
            drawn["box"] = np.tile(np.array(self.box, dtype=np.int64), (len(ids), 1))
        return Truth(**drawn | columns)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which batches a producer goes through.

    Attributes:
        samples, classes: of the data set.
        epochs: kept, such as 1.5: the last is then partial.
        batch_size: of all batches but the last of an epoch.
        seed: of crops, flips, mixes and logits. The order has its own.
        mix: of every batch.
        order: what the sampler draws.
        drop_last: leave out a last batch that is short.
        sizes: (height, width) of each image.
        view: side of the square views, for the boxes.
    """

    samples: int
    epochs: float
    batch_size: int
    classes: int
    seed: int = 0
    mix: Mix = "cutmix"
    order: Order = "current"
    drop_last: bool = False
    sizes: Sequence[Size] | None = None
    view: int = 224

    @property
    def batches_per_epoch(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    @property
    def num_batches(self) -> int:
        """Of all epochs."""
        return round(self.epochs * self.batches_per_epoch)

    def orders(self) -> list[list[int]]:
        """All IDs of every epoch, also those that `drop_last` or pruning leaves out."""
        return epoch_orders(self.samples, math.ceil(self.epochs), self.order)

    def ids_of_epochs(self) -> dict[str, list[int]]:
        """The orders as producers list them."""
        return {str(epoch): order for epoch, order in enumerate(self.orders())}

    def batches(self) -> list[Batch]:
        """What is stored, in the order in which it is."""
        draws = ViewDraws(self.samples, self.classes, self.seed, stream=2, sizes=self.sizes)
        generator = torch.Generator().manual_seed(self.seed)
        orders = self.orders()
        batches = []
        for flat in range(self.num_batches):
            epoch, number = divmod(flat, self.batches_per_epoch)
            ids = orders[epoch][number * self.batch_size : (number + 1) * self.batch_size]
            batches.append(self._drawn(draws, generator, epoch, number, ids))
        return batches

    def _drawn(
        self,
        draws: ViewDraws,
        generator: torch.Generator,
        epoch: int,
        number: int,
        ids: list[int],
    ) -> Batch:
        views = draws.views(ids)
        logits = views.logits
        mix_index = lam = box = None
        if self.mix != "none":
            mix_index = torch.randperm(len(ids), generator=generator)
            lam = float(draws.rng.beta(BETA[self.mix], BETA[self.mix]))
            logits = lam * logits + (1 - lam) * logits[mix_index]
        if self.mix == "cutmix" and lam is not None:
            box = draw_box(draws.rng, lam, (len(ids), 3, self.view, self.view))
        return Batch(
            epoch=epoch,
            number=number,
            sample_ids=ids,
            coords=torch.from_numpy(views.coords),
            flip=torch.from_numpy(views.flip),
            mix_index=mix_index,
            lam=lam,
            box=box,
            logits=logits,
        )


class BatchWriter(Plan, Writer):
    """A format that stores a record for each batch."""

    @abstractmethod
    def stored(self, batches: Sequence[Batch]) -> Iterator[Stored]:
        """The record of each batch, and columns of its truth that are not as drawn."""

    def path(self, number: int, batch: Batch) -> str:
        """Where the record of a batch is kept, whose number counts through the epochs."""
        return f"epoch_{batch.epoch}/batch_{batch.number}.tar"

    def save(self, directory: Path, batches: Sequence[Batch], records: Sequence[Record]) -> None:
        """Write the records, and what belongs beside them."""
        for number, (batch, record) in enumerate(zip(batches, records, strict=True)):
            save(record, directory / self.path(number, batch))

    def write(self, directory: Path) -> Truth:
        """Write all files into `directory`, which need not exist, and tell what they say."""
        batches = self.batches()
        stored = list(self.stored(batches))
        self.save(directory, batches, [record for record, _ in stored])
        pairs = zip(batches, stored, strict=True)
        return joined([batch.truth(self.mix, columns) for batch, (_, columns) in pairs])
