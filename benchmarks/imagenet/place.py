"""Where everything of a run lies."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.imagenet.parts import Part
from benchmarks.imagenet.pictures import Pictures
from benchmarks.imagenet.settings import Scale
from labelcast_producers.dense.labels import DenseLabels

PREPARED = ("images", "labels-rded", *(f"labels-{part}" for part in Part))


@dataclass(frozen=True)
class Place:
    """A work directory.

    Attributes:
        scale: of the run.
        directory: of everything.
    """

    scale: Scale
    directory: Path

    def pictures(self, part: Part) -> Pictures:
        """Pictures: a data set of labelcast, whose hard labels are the teacher's."""
        return Pictures.open(self.directory / "images", part)

    def teachers(self, part: Part) -> DenseLabels:
        """The teacher's logits: of SRe2L's views to learn from, of crops that are not mixed else.

        Rows are seed-major. The views are those of `description.policy`: with another view height
        and width it draws the same crops for a student of another size.
        """
        return DenseLabels.open(self.labels(part))

    def labels(self, name: str) -> Path:
        """Directory of dense labels."""
        return self.directory / "labels" / name

    def of(self, point: str) -> Path:
        """Directory of a point."""
        return self.directory / "points" / point

    @property
    def facts(self) -> dict[str, Any]:
        """What steps of the preparation have written, by name: of those that are done."""
        paths = {name: self.directory / f"{name}.json" for name in PREPARED}
        return {
            name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()
        }
