"""Dense labels of some pictures, as codecs are fitted to them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.codec.label_task import LabelTask
from labelcast_producers.dense.labels import DenseLabels


@dataclass(frozen=True)
class ViewLabels(LabelTask):
    """Labels of a recipe's views.

    Attributes:
        directory: of dense labels.
        steps: of every codec that is fitted by gradient descent.
        temperature: at which students learn from them.
    """

    directory: Path
    steps: int
    temperature: float = 1.0

    @cached_property
    def dense(self) -> DenseLabels:
        """The teacher's labels of every view."""
        return DenseLabels.open(self.directory)

    @property
    def fit_steps(self) -> int:
        """Of every codec that is fitted by gradient descent."""
        return self.steps
