"""Which views of a label set share a file of SRe2L's layout, and how they were made.

Rules:
  * a file holds views of one seed that share λ and box, and whose partners are a permutation of
    them;
  * SRe2L's layout: the n-th file of epoch e holds the n-th batch that a seeded sampler draws;
  * LPLD's: files are the label set's own batches, a short one last.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from labelcast.augmentation import (
    FIXED_POINT,
    AugmentationPolicy,
    Mix,
    RecordedPolicy,
    RecordedViews,
    draw_records,
)
from labelcast.augmentation.seeded.batches import batch_mixes, sample_order
from labelcast.errors import InvalidRequestError, UnsupportedFormError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.views import Views

# Crops in half precision are off by up to a quarter of a pixel.
_PIXEL_TOLERANCE = 0.3

Positions = NDArray[np.int64]
ImagePolicy = AugmentationPolicy | RecordedPolicy


class Layout(StrEnum):
    """Which project's scripts the files are for."""

    SRE2L = "sre2l"
    LPLD = "lpld"


def unsupported(why: str) -> NoReturn:
    """Refuse a label set that fits no batch size or layout.

    Raises:
        UnsupportedFormError: always.
    """
    raise UnsupportedFormError(
        f"{why}: train on this label set with labelcast's own loader instead"
    )


def shows_partners(policy: ImagePolicy) -> bool:
    """Whether any view is mixed."""
    sometimes = not isinstance(policy, AugmentationPolicy) or policy.mix_probability > 0
    return policy.mix is not Mix.NONE and sometimes


@dataclass(frozen=True, eq=False, slots=True)
class Epoch:
    """Views of one seed, by sample ID; rows of views that are not stored mean nothing.

    Attributes:
        seed: seed of all views.
        held: bool, shape (S,): which views are stored.
        records: S records as columns; only of the first four fields, λ and box.
    """

    seed: int
    held: NDArray[np.bool_]
    records: RecordedViews

    def partners(self, batch: Positions) -> Positions:
        """Sample IDs of the partners."""
        return self.records.partner_sample_ids[batch].astype(np.int64)

    def mixes(self, batch: Positions) -> NDArray[np.float64]:
        """λ and box of each view: shape (n, 5)."""
        return np.column_stack([self.records.lam[batch], self.records.box[batch]])

    def unmixed(self, batch: Positions) -> bool:
        """Whether every view consists of itself alone."""
        own = (self.partners(batch) == batch) & (self.records.lam[batch] == 1)
        return bool(own.all())


class EpochReader:
    """Reads how the views of each seed were made.

    Args:
        label_set: label set to export.
        policy: its view policy.
        image_sizes: int64, shape (S, 2): height and width of every image; or None.

    Raises:
        UnsupportedFormError: sample IDs or seeds are not 0, 1, 2 ….
        InvalidRequestError: `image_sizes` is not one size for each sample.
    """

    def __init__(
        self,
        label_set: LabelSetDirectory,
        policy: ImagePolicy,
        image_sizes: NDArray[np.int64] | None,
    ) -> None:
        self.policy = policy
        self._index = label_set.index()
        ids = self._index.sample_ids
        seeds = np.unique(np.concatenate([part.seeds for part in self._index.segments]))
        for table, what in ((ids, "sample IDs"), (seeds, "seeds")):
            if not np.array_equal(table, np.arange(len(table))):
                unsupported(
                    f"{what} of this label set are {table[0]} to {table[-1]}, the scripts'"
                    f" are the positions 0 to {len(table) - 1}"
                )
        self.samples, self.seeds = len(ids), len(seeds)
        if image_sizes is not None and image_sizes.shape != (self.samples, 2):
            raise InvalidRequestError(
                f"image sizes have shape {image_sizes.shape}, not ({self.samples}, 2)"
            )
        self._ids, self._sizes = ids, image_sizes
        self._recorded = label_set.records()

    def read(self, seed: int) -> Epoch:
        """Read the views of one seed.

        Raises:
            InvalidRequestError: a crop is not whole pixels of an image of the given size.
        """
        views = Views.of(self._ids, seed)
        held = self._index.holds(views)
        if isinstance(self.policy, AugmentationPolicy):
            return Epoch(seed, held, self._drawn(self.policy, views))
        records = RecordedViews.plain(views.sample_ids, views.seeds, self.policy)
        if self._recorded is not None:
            rows = np.flatnonzero(held)
            records.place(rows, self._recorded.of(views[rows]))
        if self._sizes is not None:
            records.crop[held] = _whole_pixels(records.crop[held], self._sizes[held])
        return Epoch(seed, held, records)

    def _drawn(self, policy: AugmentationPolicy, views: Views) -> RecordedViews:
        drawn = draw_records(policy, views.sample_ids, views.seeds, sample_table=self._ids)
        same = RecordedPolicy(view_height=policy.view_height, view_width=policy.view_width)
        records = RecordedViews.plain(views.sample_ids, views.seeds, same)
        crop = [drawn.crop_top, drawn.crop_left, drawn.crop_height, drawn.crop_width]
        records.crop[:] = np.stack(crop, axis=1) / FIXED_POINT
        records.flip[:] = drawn.flip
        records.partner_sample_ids[:] = drawn.partner_sample_ids
        box = [drawn.box_top, drawn.box_left, drawn.box_bottom, drawn.box_right]
        records.box[:] = np.stack(box, axis=1)
        if shows_partners(policy):
            # Files hold λ as it was drawn, which a clipped box does not show.
            _, words = batch_mixes(
                self._ids.astype(np.int64),
                views.seeds,
                samples=self.samples,
                batch=policy.mix_batch,
                key=policy.key,
            )
            chance, lam = words[0] * 2.0**-32, words[1] * 2.0**-32
            records.lam[:] = np.where(chance < policy.mix_probability, lam, 1.0)
        return records


def _whole_pixels(crop: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    scale = np.tile(sizes, 2)
    pixels = np.rint(crop * scale)
    if (np.abs(pixels - crop * scale) > _PIXEL_TOLERANCE).any():
        raise InvalidRequestError(
            "crops are no whole pixels of images of these sizes; give those that were labelled"
        )
    fractions: NDArray[np.float64] = pixels / scale
    return fractions


class BatchPlan:
    """Cuts epochs into batches; epochs must be given in order.

    Args:
        policy: view policy of the label set, which the files can express.
        layout: layout of the files.
        batch_size: size of all batches but the last of an epoch.

    Attributes:
        counts: number of batches of every epoch so far.

    Raises:
        InvalidRequestError: the seeds draw batches of another size.
    """

    def __init__(self, policy: ImagePolicy, layout: Layout, batch_size: int) -> None:
        self.counts: list[int] = []
        self._policy, self._layout, self._size = policy, layout, batch_size
        self._mixes = shows_partners(policy)
        own = policy.mix_batch if isinstance(policy, AugmentationPolicy) else 0
        if layout is Layout.LPLD and self._mixes and own not in (0, batch_size):
            raise InvalidRequestError(f"this label set mixes batches of {own}; use that batch size")

    def batches(self, epoch: Epoch, order: Positions) -> list[Positions]:
        """Sample IDs of each file of an epoch.

        Args:
            epoch: the next epoch.
            order: int64, shape (S,): the order that the script's sampler draws for it.

        Raises:
            InvalidRequestError: another batch size or layout is needed.
            UnsupportedFormError: no batch size fits.
        """
        if self._layout is Layout.LPLD:
            batches = self._own_batches(epoch, order)
        elif epoch.held.all():
            batches = self._cut(order)
        else:
            raise InvalidRequestError(
                f"seed {epoch.seed} has no view of sample {np.argmin(epoch.held)}, and SRe2L's"
                " scripts read a view of every sample; use layout lpld"
            )
        self._count(epoch.seed, len(batches))
        return batches

    def listed(self, epoch: Epoch, order: Positions, batches: list[Positions]) -> list[int]:
        """List the samples of an epoch as LPLD does, including those that were not kept."""
        ids: list[int] = np.concatenate(batches).tolist()
        if len(ids) % self._size == 0:
            ids += order[~epoch.held[order]].tolist()
        return ids

    def fields(self, epoch: Epoch, batch: Positions) -> list[Any]:
        """The first five of the six fields of a file, in exactly SRe2L's types.

        Raises:
            See `batches`.
        """
        coords = torch.from_numpy(epoch.records.crop[batch].astype(np.float32))
        five: list[Any] = [coords, torch.from_numpy(epoch.records.flip[batch]), None, None, None]
        if self._mixes:
            five[2] = torch.from_numpy(self._mix_index(epoch, batch))
            five[3] = float(epoch.records.lam[batch[0]])
            if self._policy.mix is Mix.CUTMIX:
                five[4] = [np.int64(edge) for edge in epoch.records.box[batch[0]]]
        return five

    def _mix_index(self, epoch: Epoch, batch: Positions) -> Positions:
        partners, mixes = epoch.partners(batch), epoch.mixes(batch)
        place = np.full(len(epoch.held), -1, dtype=np.int64)
        place[batch] = np.arange(len(batch))
        if (place[partners] < 0).any() or (mixes != mixes[0]).any():
            self._refuse(epoch, batch)
        if len(np.unique(partners)) != len(batch):
            unsupported(
                f"under seed {epoch.seed} two views of a batch are mixed with the same one, and"
                " files hold permutations"
            )
        return place[partners]

    def _own_batches(self, epoch: Epoch, order: Positions) -> list[Positions]:
        stored = order[epoch.held[order]]
        if not self._mixes:
            return self._cut(stored)
        if isinstance(self._policy, AugmentationPolicy):
            drawn = sample_order(len(order), seed=epoch.seed, key=self._policy.key)
            groups = [group for group in self._cut(drawn) if epoch.held[group].any()]
        else:
            groups = self._recorded_batches(epoch, stored)
        for group in groups:
            if not epoch.held[group].all():
                self._refuse(epoch, group)
        short = [group for group in groups if len(group) != self._size]
        if len(short) > 1 or any(len(group) > self._size for group in short):
            most = int(np.bincount([len(group) for group in groups]).argmax())
            if most == 1:
                unsupported("views of this label set do not share their mix, those of files do")
            raise InvalidRequestError(
                f"this label set's own batches under seed {epoch.seed} are not of {self._size}"
                f" views; most have {most}: use that batch size"
            )
        return [group for group in groups if len(group) == self._size] + short

    def _recorded_batches(self, epoch: Epoch, stored: Positions) -> list[Positions]:
        """Views that share a mix, in the sampler's order, which may be the producer's."""
        if not len(stored):
            return []
        _, kinds = np.unique(epoch.mixes(stored), axis=0, return_inverse=True)
        kinds = kinds.reshape(-1)
        by_kind = np.argsort(kinds, kind="stable")
        places = np.split(by_kind, np.flatnonzero(np.diff(kinds[by_kind])) + 1)
        places.sort(key=lambda at: int(at[0]))
        groups: list[Positions] = []
        for group in (stored[at] for at in places):
            # All unmixed batches of an epoch look alike, and any cut of them is equally good.
            groups += self._cut(group) if epoch.unmixed(group) else [group]
        return groups

    def _count(self, seed: int, count: int) -> None:
        before = self.counts
        goes_on = not before or before[-1] == before[0]
        fits = count <= before[-1] and (goes_on or not count) if before else count > 0
        if not fits:
            raise InvalidRequestError(
                f"seed {seed} has {count} batches after {before[-3:]}: scripts read whole epochs,"
                " and a last one that may end early"
            )
        before.append(count)

    def _refuse(self, epoch: Epoch, batch: Positions) -> NoReturn:
        every = np.flatnonzero(epoch.held)
        together = int((epoch.mixes(every) == epoch.mixes(batch[:1])).all(axis=1).sum())
        if together == 1 and len(batch) > 1:
            unsupported("views of this label set do not share their mix, those of files do")
        hint = (
            f"use batch size {together} if that is theirs, and draws and seed of the sampler that"
            " made them, or use layout lpld, whose files name their samples"
            if self._layout is Layout.SRE2L
            else "files hold only whole batches"
        )
        raise InvalidRequestError(
            f"under seed {epoch.seed} the view of sample {batch[0]} is mixed among {together} that"
            f" are stored, which are not the {len(batch)} of its batch: {hint}"
        )

    def _cut(self, positions: Positions) -> list[Positions]:
        return [positions[at : at + self._size] for at in range(0, len(positions), self._size)]
