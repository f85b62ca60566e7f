"""Which views a student sees at each step, and from what labels it learns there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.imagenet.points import Kept
from benchmarks.imagenet.settings import Scale
from labelcast_producers.fitting.sampling import RowNumbers


@dataclass(frozen=True, eq=False)
class Step:
    """One step.

    Attributes:
        rows: int64, shape (batch,): rows of the views.
        hard: whether it learns from hard labels, though others have soft ones.
    """

    rows: RowNumbers
    hard: bool = False


def kept_rows(kept: Kept, scale: Scale) -> int:
    """Rows that have soft labels: the first so many, as labels are in the order of their seeds."""
    rows = scale.pictures * scale.seeds
    if kept is Kept.PRUNED:
        return rows // scale.student.prune
    if kept is Kept.FEW:
        return scale.pictures * min(scale.student.few_views, scale.seeds)
    return rows


def count_steps(scale: Scale) -> int:
    """Of every student."""
    settings = scale.student
    return scale.pictures * scale.seeds * settings.passes // settings.batch_size


def planned_steps(kept: Kept, scale: Scale, *, seed: int) -> Iterator[Step]:
    """Every step of a student.

    Args:
        kept: which views have soft labels.
        scale: of the run.
        seed: of the order: students of a seed that are taught on the same views see the same.
    """
    steps, batch = count_steps(scale), scale.student.batch_size
    soft = _shuffled(kept_rows(kept, scale), batch, seed)
    all_views = _shuffled(kept_rows(Kept.ALL, scale), batch, seed)
    for step in range(steps):
        if kept is Kept.FEW and steps <= 3 * step < 2 * steps:
            yield Step(next(all_views), hard=True)
        else:
            yield Step(next(soft))


def _shuffled(rows: int, batch: int, seed: int) -> Iterator[RowNumbers]:
    """Batches of all rows in random orders, one order after the other; without end."""
    random = np.random.default_rng(seed)
    left = random.permutation(rows)
    while True:
        while len(left) < batch:
            left = np.concatenate([left, random.permutation(rows)])
        yield left[:batch]
        left = left[batch:]
