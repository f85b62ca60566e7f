"""labelcast's own VQAE, with and without what both ends know of a view."""

from typing import Any

from numpy.typing import NDArray

from benchmarks.codec.contract import BenchmarkCodec, FitInput, Packed, Values
from labelcast_producers.dense.row_context import RowContext
from labelcast_producers.fitting import FitConfig, FittedCodec, fit
from labelcast_producers.fitting.config import CLASS_WIDTH
from labelcast_producers.fitting.sampling import RowNumbers


class Ours(BenchmarkCodec):
    """A fitted codec of the library."""

    def __init__(self, fitted: FittedCodec, context: RowContext | None) -> None:
        super().__init__()
        self._fitted = fitted
        self._context = context
        self.codec_bytes = fitted.report.codec_bytes
        # Over all resumptions, which the clock of this call would not know of.
        self.fit_seconds = fitted.report.seconds

    def encode(self, labels: NDArray[Any], rows: RowNumbers) -> Packed:
        return self._fitted.encoder.encode(labels, self._about(rows))

    def decode(self, packed: Packed, rows: RowNumbers) -> Values:
        return self._fitted.codec.decode(packed, self._about(rows))

    def _about(self, rows: RowNumbers) -> Packed | None:
        return None if self._context is None else self._context.rows(rows)


def fit_ours(given: FitInput, *, codes: int, context: bool) -> BenchmarkCodec:
    """Fit as `labelcast fit` does."""
    dense = given.task.dense
    known = dense.context() if context else None
    fitted = fit(
        dense.rows,
        # Points with and without context are both wanted: the fit is not to choose.
        FitConfig(
            codes=codes,
            steps=given.task.fit_steps,
            class_width=CLASS_WIDTH,
            temperature=given.task.temperature,
        ),
        out=given.out,
        label_kind=dense.description.label_kind,
        context=known,
        device="cpu",
    )
    return Ours(fitted, known)
