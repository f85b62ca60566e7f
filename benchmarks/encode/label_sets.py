"""The labels that are encoded."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec.label_task import HOLDOUT_EVERY
from benchmarks.codec.task import Protocol, label
from labelcast.label_set import GridIndex, RowOrder
from labelcast_producers.dense.files import LabelBlock, LabelRows
from labelcast_producers.dense.labels import DESCRIPTION_NAME, DenseLabels
from labelcast_producers.fitting.sampling import RowNumbers, Split, spaced

GLYPHS = Protocol(name="encode", num_classes=1000, images_per_class=1, views=24, teacher_epochs=8)
QUICK = replace(GLYPHS, name="encode-quick", num_classes=300, views=12, teacher_epochs=1)


def label_glyphs(protocol: Protocol, work: Path) -> DenseLabels:
    """A teacher's labels of glyphs; those of an earlier run are taken as they are."""
    directory = work / protocol.name
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "dense" / DESCRIPTION_NAME).is_file():
        label(protocol, directory)
    return DenseLabels.open(directory / "dense")


def unseen_rows(dense: DenseLabels, count: int) -> RowNumbers:
    """Rows that no codec was fitted on, evenly spaced."""
    split = Split.of(
        dense.rows.num_rows,
        rows_per_seed=dense.rows.rows_per_seed,
        block_rows=None,
        holdout_every=HOLDOUT_EVERY,
    )
    return split.unseen(spaced(split.unseen_rows, count))


def first_seeds(dense: DenseLabels, rows: int) -> DenseLabels:
    """The labels of whole seeds, at least `rows` of them if there are as many."""
    ids = dense.index.sample_ids
    seeds = dense.index.seeds[: -(-rows // len(ids))]
    return replace(
        dense,
        index=GridIndex(ids, seeds, RowOrder.SEED_MAJOR),
        rows=FirstRows(dense.rows, len(ids) * len(seeds)),
        control_images=None,
    )


@dataclass(frozen=True, eq=False)
class FirstRows:
    """The first rows of some labels.

    Attributes:
        labels: all of them.
        num_rows: how many are the first.
    """

    labels: LabelRows
    num_rows: int

    @property
    def num_classes(self) -> int:
        """Values of a label."""
        return self.labels.num_classes

    @property
    def rows_per_seed(self) -> int | None:
        """Rows of one augmentation seed."""
        return self.labels.rows_per_seed

    def read(self, start: int, stop: int) -> LabelBlock:
        """Rows start to stop - 1."""
        return self.labels.read(start, min(stop, self.num_rows))

    def gather(self, rows: NDArray[np.int64]) -> LabelBlock:
        """Rows in the order given."""
        return self.labels.gather(rows)
