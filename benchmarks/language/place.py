"""Where everything of a run lies."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.codec.queue import Unit
from benchmarks.language.corpus import Sequences
from benchmarks.language.points import Point
from benchmarks.language.settings import Scale
from labelcast.label_set_directory import LabelSetDirectory

LABELS_UNIT = "labels"
_STUDENT = "student-"


@dataclass(frozen=True)
class Place:
    """A work directory.

    Attributes:
        scale: of the run.
        directory: of everything.
    """

    scale: Scale
    directory: Path

    @property
    def train_tokens(self) -> Path:
        """Sequences to train on."""
        return self.directory / "train.npz"

    @property
    def held_out_tokens(self) -> Path:
        """Sequences to test on."""
        return self.directory / "held-out.npz"

    @cached_property
    def train(self) -> Sequences:
        """Sequences to train on."""
        return Sequences.load(self.train_tokens)

    @cached_property
    def held_out(self) -> Sequences:
        """Sequences to test on."""
        return Sequences.load(self.held_out_tokens)

    @property
    def exact(self) -> Path:
        """Label set of the exact labels."""
        return self.directory / "exact"

    def of(self, point: Point) -> Path:
        """Directory of a point."""
        return self.directory / "points" / point.name

    def label_set(self, point: Point) -> LabelSetDirectory:
        """Labels of a point, if it has been encoded; those of `dense` are the exact ones."""
        return LabelSetDirectory(
            self.exact if point.codec is None else self.of(point) / "label-set"
        )

    def units(self, point: Point, seeds: int) -> list[Unit]:
        """The labels of a point, then a student for each seed."""
        names = [LABELS_UNIT, *(f"{_STUDENT}{seed}" for seed in range(seeds))]
        return [Unit(point.name, name, self.of(point), None) for name in names]

    def facts(self, name: str) -> dict[str, Any]:
        """What a step of the preparation has written."""
        found: dict[str, Any] = json.loads((self.directory / f"{name}.json").read_text())
        return found


def seed_of(unit: str) -> int | None:
    """Seed of a student's unit; None if it is no student's."""
    return int(unit.removeprefix(_STUDENT)) if unit.startswith(_STUDENT) else None
