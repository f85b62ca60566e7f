"""`ReadLabels`: what a loop reads, and which rows of it are soft labels."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from labelcast.views import Views


class OnMiss(StrEnum):
    """What a loop's reader does about labels that do not come."""

    WAIT = "wait"
    """Wait for as long as the client has patience, then raise the error."""
    HARD_LABEL = "hard-label"
    """Give the hard label of what the view shows, beside the soft ones."""
    SKIP = "skip"
    """Give nothing for the row."""


@dataclass(frozen=True, eq=False, slots=True)
class ReadLabels:
    """Labels of one batch, in the order of its views.

    Rows that are not present never look like soft labels: they are NaN, and so is a loss that
    forgets them. Only where the labels are probabilities and a hard label was asked for do they
    hold it, which is a distribution too; no logits mean a hard label at every temperature.

    Attributes:
        views: N views.
        values: float, shape (N, C): soft labels; a numpy array, or a tensor on the reader's device.
        present: bool, shape (N,), of the same kind: which rows are soft labels.
        hard: float32, shape (M, C), of the same kind: hard labels of the M rows that are not
            present, in their order, mixed by area where the view is; None unless asked for.
    """

    views: Views
    values: Any
    present: Any
    hard: Any

    def __len__(self) -> int:
        return len(self.views)

    def __repr__(self) -> str:
        return f"<ReadLabels: {int(self.present.sum())} of {len(self)} rows are soft labels>"
