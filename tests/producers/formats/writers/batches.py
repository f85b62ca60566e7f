"""The augmented, batch-mixed epochs that SRe2L and all that grew from it store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.producers.formats.writers.truth import Truth, joined
from tests.producers.formats.writers.views import (
    Order,
    Size,
    Teacher,
    draw_box,
    draw_coords,
    epoch_orders,
    image_sizes,
)

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

    def six(self, labels: Tensor) -> list[Any]:
        """SRe2L's record."""
        return [self.coords, self.flip, self.mix_index, self.lam, self.box, labels]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which batches a producer goes through.

    Attributes:
        samples, classes: of the data set.
        epochs: drawn, the last of which may be partial by `max_batches`.
        batch_size: of all batches but the last of an epoch.
        seed: of crops, flips, mixes and logits. The order has its own.
        mix: of every batch.
        order: what the sampler draws.
        drop_last: leave out a last batch that is short.
        max_batches: pruning: how many batches are kept, counted through the epochs.
        sizes: (height, width) of each image.
        view: side of the square views, for the boxes.
    """

    samples: int
    epochs: int
    batch_size: int
    classes: int
    seed: int = 0
    mix: Mix = "cutmix"
    order: Order = "current"
    drop_last: bool = False
    max_batches: int | None = None
    sizes: Sequence[Size] | None = None
    view: int = 224

    @property
    def batches_per_epoch(self) -> int:
        whole, rest = divmod(self.samples, self.batch_size)
        return whole if self.drop_last or not rest else whole + 1

    def orders(self) -> list[list[int]]:
        """All IDs of every epoch, also those that `drop_last` or pruning leaves out."""
        return epoch_orders(self.samples, self.epochs, self.order)

    def batches(self) -> list[Batch]:
        """What is stored, in the order in which it is."""
        rng = np.random.default_rng([self.seed, 2])
        generator = torch.Generator().manual_seed(self.seed)
        teacher = Teacher(self.samples, self.classes, self.seed)
        total = self.epochs * self.batches_per_epoch
        kept = total if self.max_batches is None else min(total, self.max_batches)
        orders = self.orders()
        batches = []
        for flat in range(kept):
            epoch, number = divmod(flat, self.batches_per_epoch)
            ids = orders[epoch][number * self.batch_size : (number + 1) * self.batch_size]
            batches.append(self._drawn(rng, generator, teacher, epoch, number, ids))
        return batches

    def _drawn(
        self,
        rng: np.random.Generator,
        generator: torch.Generator,
        teacher: Teacher,
        epoch: int,
        number: int,
        ids: list[int],
    ) -> Batch:
        sizes = self.sizes or image_sizes(self.samples)
        coords = torch.from_numpy(draw_coords(rng, [sizes[sample] for sample in ids]))
        flip = torch.from_numpy(rng.random(len(ids)) < 0.5)
        logits = torch.from_numpy(teacher.logits(rng, np.array(ids, dtype=np.int64)))
        mix_index = lam = box = None
        if self.mix != "none":
            mix_index = torch.randperm(len(ids), generator=generator)
            lam = float(rng.beta(BETA[self.mix], BETA[self.mix]))
            logits = lam * logits + (1 - lam) * logits[mix_index]
        if self.mix == "cutmix" and lam is not None:
            box = draw_box(rng, lam, (len(ids), 3, self.view, self.view))
        return Batch(
            epoch=epoch,
            number=number,
            sample_ids=ids,
            coords=coords,
            flip=flip,
            mix_index=mix_index,
            lam=lam,
            box=box,
            logits=logits,
        )


def truth_of(
    plan: Plan,
    batches: Sequence[Batch],
    labels: Sequence[NDArray[Any]],
    *,
    label_kind: str = "logits",
    temperature: float | None = None,
    coords_dtype: torch.dtype = torch.float32,
    flip_stored: bool = True,
) -> Truth:
    """The truth of stored batches.

    Args:
        plan: that the batches were drawn by.
        batches: as stored.
        labels: (B, C) of each batch, recovered.
        label_kind: see `Truth`.
        temperature: see `Truth`.
        coords_dtype: what the coordinates were rounded to.
        flip_stored: whether the format says which views were flipped.
    """
    parts = []
    for batch, batch_labels in zip(batches, labels, strict=True):
        ids = np.array(batch.sample_ids, dtype=np.uint64)
        seeds = np.full(len(ids), batch.epoch, dtype=np.uint32)
        partners = None
        if batch.mix_index is not None:
            order = batch.mix_index.tolist()
            partners = np.array([batch.sample_ids[i] for i in order], dtype=np.uint64)
        parts.append(
            Truth(
                sample_ids=ids,
                seeds=seeds,
                labels=batch_labels,
                label_kind=label_kind,
                temperature=temperature,
                coords=batch.coords.to(coords_dtype).float().numpy(),
                flip=batch.flip.numpy() if flip_stored else None,
                partner_sample_ids=partners,
                partner_seeds=None if partners is None else seeds,
                lam=None if batch.lam is None else np.full(len(ids), batch.lam),
                box=None
                if batch.box is None
                else np.tile(np.array(batch.box, dtype=np.int64), (len(ids), 1)),
                mix=plan.mix,
            )
        )
    return joined(parts)
