"""Stages of a staged set: each adds segments to those before it (PDD, arXiv 2310.06982)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError, ManifestError
from labelcast.label_set.fields import Fields
from labelcast.label_set.index.whole import ViewIndex
from labelcast.views import Views


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage.

    Attributes:
        name: name of the stage, for people.
        segments: number of segments, from the first on, that the set has at this stage.
        learning_rate: learning rate to train the stage with; None if its maker did not say.
        epochs: epochs to train the stage for; None if its maker did not say.
    """

    name: str
    segments: int
    learning_rate: float | None = None
    epochs: int | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        return {
            "name": self.name,
            "segments": self.segments,
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly."""
        rate, epochs = fields.take("learning_rate"), fields.take("epochs")
        if rate is not None and not (type(rate) is float and 0 < rate < 1e6):
            raise ManifestError(f"{fields.path}.learning_rate must be null or a number above 0")
        if epochs is not None and not (type(epochs) is int and 0 < epochs < 2**32):
            raise ManifestError(f"{fields.path}.epochs must be null or an integer above 0")
        read = cls(
            name=fields.text("name"),
            segments=fields.integer("segments", 1, 2**16),
            learning_rate=rate,
            epochs=epochs,
        )
        fields.done()
        return read


@dataclass(frozen=True, eq=False, slots=True)
class StageGrid:
    """Samples and seeds of a stage, each sample under each seed: what plans and loaders take.

    Attributes:
        sample_ids: uint64, shape (S,), strictly increasing.
        seeds: uint32, shape (K,), strictly increasing.
    """

    sample_ids: NDArray[np.uint64]
    seeds: NDArray[np.uint32]

    def epochs(self, count: int) -> list[int]:
        """Seed of each epoch of a run, over and over from the first on.

        Args:
            count: epochs of the whole run.
        """
        seeds: list[int] = np.resize(self.seeds, count).tolist()
        return seeds


def check_stages(stages: Sequence[Stage], num_segments: int) -> None:
    """Refuse stages that do not add up to the segments of their manifest.

    Raises:
        ManifestError: a stage that adds nothing, or segments in no stage.
    """
    counts = [0, *(stage.segments for stage in stages)]
    if any(after <= before for before, after in itertools.pairwise(counts)):
        raise ManifestError("every stage must add at least one segment")
    if stages and counts[-1] != num_segments:
        raise ManifestError(f"the stages end at segment {counts[-1]} of {num_segments}")


def stage_segments(stages: Sequence[Stage], stage: int, *, new: bool) -> range:
    """Segments of a stage.

    Args:
        stages: stages of a manifest.
        stage: number of the stage, from 0.
        new: only those that the stage adds, instead of all up to it.

    Raises:
        InvalidRequestError: there is no such stage.
    """
    if not 0 <= stage < len(stages):
        raise InvalidRequestError(
            f"the label set has no stage {stage}: it has {len(stages)}, counted from 0"
        )
    first = stages[stage - 1].segments if new and stage else 0
    return range(first, stages[stage].segments)


def stage_views(
    stages: Sequence[Stage], index: ViewIndex, stage: int, *, new: bool = False
) -> Views:
    """Views of a stage, segment after segment in the order of their rows.

    Args:
        stages: stages of a manifest.
        index: index of its views.
        stage: number of the stage, from 0.
        new: only the views that the stage adds, instead of all up to it.

    Raises:
        InvalidRequestError: there is no such stage.
    """
    numbers = stage_segments(stages, stage, new=new)
    return Views.joined([index.segments[number].views() for number in numbers])


def stage_grid(
    stages: Sequence[Stage], index: ViewIndex, stage: int, *, new: bool = False
) -> StageGrid:
    """Samples and seeds of a stage, if each sample has a view under each seed.

    Args:
        stages: stages of a manifest.
        index: index of its views.
        stage: number of the stage, from 0.
        new: only what the stage adds, instead of all up to it.

    Raises:
        InvalidRequestError: there is no such stage, or some sample lacks a seed that others have.
    """
    parts = [index.segments[number] for number in stage_segments(stages, stage, new=new)]
    ids = np.unique(np.concatenate([part.sample_ids for part in parts]))
    seeds = np.unique(np.concatenate([part.seeds for part in parts]))
    if (views := sum(part.num_rows for part in parts)) != len(ids) * len(seeds):
        raise InvalidRequestError(
            f"stage {stage} has {views} views, not one of each of {len(ids)} samples under each of"
            f" {len(seeds)} seeds; take what it adds, with new=True, or name its views one by one"
            " with stage_views",
            field="stage",
        )
    return StageGrid(ids, seeds)
