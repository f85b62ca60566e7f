"""Principal components of labels, from the moments of all fitted rows in one pass."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec.contract import Values
from benchmarks.codec.features import Feature
from benchmarks.codec.label_task import LabelTask
from labelcast_producers.fitting.sampling import RowNumbers


@dataclass(frozen=True, eq=False)
class Basis:
    """A mean and the directions of most variance, as a decoder stores them.

    Attributes:
        feature: what is decomposed.
        temperature: at which labels have that feature.
        mean: float32 of fp16 values, shape (C,).
        directions: float32 of fp16 values, shape (k, C), orthonormal but for their rounding.
    """

    feature: Feature
    temperature: float
    mean: Values
    directions: Values

    @property
    def stored_bytes(self) -> int:
        """Of mean and directions in fp16."""
        return 2 * (self.mean.size + self.directions.size)

    def first(self, size: int) -> "Basis":
        """The same with so many directions."""
        return replace(self, directions=self.directions[:size])

    def project(self, logits: NDArray[Any]) -> Values:
        """Coefficients (n, k) of logits (n, C)."""
        coefficients = (self.feature.of(logits / self.temperature) - self.mean) @ self.directions.T
        return np.ascontiguousarray(coefficients, dtype=np.float32)

    def restore(self, coefficients: Values) -> Values:
        """Logits (n, C) of coefficients (n, k)."""
        features = coefficients @ self.directions + self.mean
        return self.feature.logits(features) * np.float32(self.temperature)


def fit_basis(task: LabelTask, feature: Feature, size: int) -> Basis:
    """The first `size` principal components of a feature over all fitted rows."""
    classes = task.num_classes
    total = np.zeros(classes)
    products = np.zeros((classes, classes))
    rows = task.fitted_rows()
    for _, labels in task.labels(rows):
        values = feature.of(labels / task.temperature)
        total += values.sum(axis=0)
        products += values.T @ values
    mean = total / len(rows)
    covariance = products / len(rows) - np.outer(mean, mean)
    _, directions = np.linalg.eigh(covariance)
    largest_first = directions[:, ::-1][:, :size].T
    return Basis(feature, task.temperature, _as_stored(mean), _as_stored(largest_first))


def project(task: LabelTask, basis: Basis, rows: RowNumbers) -> Values:
    """Coefficients of rows: float32, shape (rows, k)."""
    return np.concatenate([basis.project(labels) for _, labels in task.labels(rows)], axis=0)


def _as_stored(values: NDArray[np.floating]) -> Values:
    stored: Values = values.astype(np.float16).astype(np.float32)
    return np.ascontiguousarray(stored)
