"""Low rank: the first principal components, one byte a coefficient."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec.contract import BenchmarkCodec, FitInput, Packed, Values
from benchmarks.codec.features import Feature
from benchmarks.codec.fidelity import choose_best
from benchmarks.codec.pca import Basis, fit_basis, project
from labelcast_producers.fitting.sampling import RowNumbers

# Beyond it a coefficient is clipped: a range that held every outlier would coarsen all others.
_KEPT_SHARE = 0.9995
_LEVELS = 127


class LowRank(BenchmarkCodec):
    """Coefficients in int8, each direction with its own step."""

    def __init__(self, basis: Basis, steps: Values) -> None:
        super().__init__()
        self._basis = basis
        self._steps = steps
        self.codec_bytes = basis.stored_bytes + 4 * len(steps)

    def encode(self, labels: NDArray[Any], rows: RowNumbers) -> Packed:
        levels = np.rint(self._basis.project(labels) / self._steps)
        packed: Packed = np.clip(levels, -_LEVELS, _LEVELS).astype(np.int8).view(np.uint8)
        return packed

    def decode(self, packed: Packed, rows: RowNumbers) -> Values:
        return self._basis.restore(packed.view(np.int8).astype(np.float32) * self._steps)


def fit_low_rank(given: FitInput, *, size: int) -> BenchmarkCodec:
    """The best of several features at `size` coefficients."""
    candidates: dict[str, BenchmarkCodec] = {}
    for feature in Feature:
        basis = fit_basis(given.task, feature, size)
        coefficients = project(given.task, basis, given.task.fitted_rows())
        reach = np.quantile(np.abs(coefficients), _KEPT_SHARE, axis=0)
        steps = np.maximum(reach / _LEVELS, 1e-6).astype(np.float32)
        candidates[feature.value] = LowRank(basis, steps)
    return choose_best(candidates, given.task)
