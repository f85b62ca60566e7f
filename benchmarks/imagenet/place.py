"""Where everything of a run lies."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.imagenet.pictures import Pictures
from benchmarks.imagenet.settings import Scale
from labelcast_producers.dense.labels import DenseLabels

PREPARED = ("images", "labels-train", "labels-rded", "labels-held-out")


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
    def training_pictures(self) -> Pictures:
        """Pictures to train on: a data set of labelcast, whose hard labels are the teacher's."""
        return Pictures.open(self.directory / "images", "train")

    @property
    def held_out_pictures(self) -> Pictures:
        """Pictures to test on; they share neither photograph nor wallpaper with the others."""
        return Pictures.open(self.directory / "images", "held-out")

    @property
    def training_labels(self) -> DenseLabels:
        """The teacher's logits of SRe2L's views of `training_pictures`."""
        return DenseLabels.open(self.labels("train"))

    @property
    def rded_labels(self) -> DenseLabels:
        """The teacher's logits of RDED's views of the first of `training_pictures`."""
        return DenseLabels.open(self.labels("rded"))

    @property
    def held_out_labels(self) -> DenseLabels:
        """The teacher's logits of crops of `held_out_pictures`, not mixed.

        Rows are seed-major. The crops are those of `description.policy`: with another view height
        and width it draws the same crops for a student of another size.
        """
        return DenseLabels.open(self.labels("held-out"))

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
