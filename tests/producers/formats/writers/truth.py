"""What a written file says, known from what was drawn and never from reading it back."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a written file says, view by view, in no particular order.

    Attributes:
        sample_ids: position in the sorted image list, or the IDs given in the file, (n,).
        seeds: the epoch for epoch/batch formats, the crop number for per-image formats, 0 for sets
            of one view, (n,).
        labels: (n, C) exactly as stored and recovered: the stored dtype where dense, float32 after
            recovery from top-k.
        label_kind: "logits" or "probabilities".
        temperature: of the probabilities; None where the producer does not say or it means nothing.
        coords: (n, 4) top, left, height and width as fractions of the source image.
        flip: (n,), after the crop.
        partner_sample_ids: equal to the own IDs where a permutation left a sample in place.
        partner_seeds: of the partner's view.
        lam: the raw draw, whatever the box was clipped to.
        box: (n, 4) bbx1 (row), bby1 (column), bbx2, bby2; None for MixUp and for no mix.
        mix: "none", "cutmix" or "mixup".
        top_values, top_indices: (n, k) as stored, for formats which keep k classes.
        patches: (n, 2, 2) the stored patch permutation.
        stored_seeds: (n,) the producer's own augmentation seed.
        images: (N, ...) of distilled sets, in the order of sample_ids.
        stages: (n,) the stage in which a distilled sample first appears.
        learning_rates: the learned ones, one a stage.
    """

    sample_ids: NDArray[np.uint64]
    seeds: NDArray[np.uint32]
    labels: NDArray[Any]
    label_kind: str
    temperature: float | None = None
    coords: NDArray[np.float32] | None = None
    flip: NDArray[np.bool_] | None = None
    partner_sample_ids: NDArray[np.uint64] | None = None
    partner_seeds: NDArray[np.uint32] | None = None
    lam: NDArray[np.float64] | None = None
    box: NDArray[np.int64] | None = None
    mix: str = "none"
    top_values: NDArray[Any] | None = None
    top_indices: NDArray[np.int64] | None = None
    patches: NDArray[np.int64] | None = None
    stored_seeds: NDArray[np.int32] | None = None
    images: NDArray[np.float32] | None = None
    stages: NDArray[np.int64] | None = None
    learning_rates: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    def row(self, sample_id: int, seed: int) -> int:
        """Where the view of one sample under one seed is: there must be exactly one."""
        found = np.flatnonzero((self.sample_ids == sample_id) & (self.seeds == seed))
        (row,) = found.tolist()
        return int(row)


def truth_of_views(sample_ids: Sequence[int], seeds: Sequence[int], **columns: Any) -> Truth:
    """The truth of views that hold probabilities."""
    return Truth(
        sample_ids=np.array(sample_ids, dtype=np.uint64),
        seeds=np.array(seeds, dtype=np.uint32),
        **{"label_kind": "probabilities"} | columns,
    )


def joined(parts: Sequence[Truth]) -> Truth:
    """One truth of several files of one producer."""
    first = parts[0]
    arrays: dict[str, Any] = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Truth)
        if isinstance(getattr(first, field.name), np.ndarray)
    }
    return replace(first, **arrays)


def by_occurrence(truth: Truth) -> Truth:
    """The same views, numbered within each sample in the order they were written.

    Flat files name no epoch. This numbering is all that a reader can know of them; it differs from
    the epoch where drop_last left a sample out of an earlier one.
    """
    seen: dict[int, int] = {}
    counted: dict[tuple[int, int], int] = {}
    for sample_id, seed in zip(truth.sample_ids.tolist(), truth.seeds.tolist(), strict=True):
        counted[sample_id, seed] = seen.get(sample_id, 0)
        seen[sample_id] = counted[sample_id, seed] + 1

    def renumbered(sample_ids: NDArray[np.uint64], seeds: NDArray[np.uint32]) -> NDArray[np.uint32]:
        pairs = zip(sample_ids.tolist(), seeds.tolist(), strict=True)
        return np.array([counted[pair] for pair in pairs], dtype=np.uint32)

    partner_seeds = truth.partner_seeds
    if truth.partner_sample_ids is not None and partner_seeds is not None:
        partner_seeds = renumbered(truth.partner_sample_ids, partner_seeds)
    return replace(
        truth, seeds=renumbered(truth.sample_ids, truth.seeds), partner_seeds=partner_seeds
    )
