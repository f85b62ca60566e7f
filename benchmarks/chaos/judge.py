"""Compares what was delivered with what its views must give, row by row."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos.catalog import SETS
from benchmarks.chaos.label_sets import SpelledSet, as_row_bytes, softmax
from labelcast import DeliveredLabels, Form, Precision, Representation, Views

_NAMED = 8
# Of probabilities, which the service computes in fp32. Those of neighbouring views differ by more
# than a percent in most of the classes.
_RELATIVE = {Precision.FP16: 2e-3, Precision.FP32: 1e-4}
_SMALLEST_NORMAL_FP16 = 6.2e-5


@dataclass
class Verdict:
    """What was wrong with one stream or call.

    Attributes:
        rows: delivered.
        wrong: rows whose bytes are not those of their view.
        lost: rows missing from a stream that ended without an error.
        duplicated: rows delivered again.
        whose: of the first wrong rows, whom they belong to.
    """

    rows: int = 0
    wrong: int = 0
    lost: int = 0
    duplicated: int = 0
    whose: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For the report of a stream."""
        return asdict(self)


class StreamJudge:
    """Watches one stream.

    Args:
        known: label set that is read.
        representation: form of its labels.
        batches: row numbers of every batch that is asked for, in order.
    """

    def __init__(
        self,
        known: SpelledSet,
        representation: Representation,
        batches: Sequence[NDArray[np.int64]],
    ) -> None:
        self.verdict = Verdict()
        self._known = known
        self._representation = representation
        self._batches = batches
        self._delivered = 0

    def views(self) -> Iterator[Views]:
        """What to ask for."""
        return map(self._known.views, self._batches)

    def take(self, batch: DeliveredLabels) -> None:
        """The next batch that the client delivered."""
        verdict, number = self.verdict, self._delivered
        self._delivered += 1
        verdict.rows += len(batch.rows)
        expected = self._batches[number] if number < len(self._batches) else None
        if expected is None or not self._are_views_of(batch, expected):
            if any(self._are_views_of(batch, earlier) for earlier in self._batches[:number]):
                verdict.duplicated += len(batch.rows)
            else:
                verdict.wrong += len(batch.rows)
                verdict.whose.append(f"batch {number} has views that were not asked for there")
            return
        if len(batch.rows) != len(expected):
            verdict.lost += max(0, len(expected) - len(batch.rows))
            verdict.duplicated += max(0, len(batch.rows) - len(expected))
            return
        wrong = wrong_rows(self._known, batch, expected, self._representation)
        if wrong.any():
            at = np.flatnonzero(wrong)
            verdict.wrong += len(at)
            for row in at[: _NAMED - len(verdict.whose)].tolist():
                found = _whose(self._known, batch.rows[row], self._representation)
                asked = f"{self._known.tag} row {expected[row]}"
                verdict.whose.append(f"batch {number} row {row}: asked {asked}, got {found}")

    def ended(self) -> None:
        """The stream ended as one that has delivered everything."""
        missing = self._batches[self._delivered :]
        self.verdict.lost += sum(len(batch) for batch in missing)

    def _are_views_of(self, batch: DeliveredLabels, at: NDArray[np.int64]) -> bool:
        views = self._known.views(at)
        return np.array_equal(batch.views.sample_ids, views.sample_ids) and np.array_equal(
            batch.views.seeds, views.seeds
        )


def wrong_rows(
    known: SpelledSet,
    batch: DeliveredLabels,
    at: NDArray[np.int64],
    representation: Representation,
) -> NDArray[np.bool_]:
    """Which rows are not those of views number `at`: bool, shape (n,)."""
    form, precision = representation.form, representation.precision
    if form is Form.CODES:
        return _differ(batch.rows, known.rows[at])
    logits = known.logits(at)
    if form is Form.LOGITS:
        assert precision is not None
        return _differ(batch.rows, as_row_bytes(logits.astype(precision.dtype)))
    assert representation.temperature is not None
    expected = softmax(logits, representation.temperature)
    if form is Form.PROBABILITIES:
        assert precision is not None
        close: NDArray[np.bool_] = np.asarray(_close(batch.values, expected, precision).all(axis=1))
        return ~close
    ids, probabilities = batch.top_k()
    k = ids.shape[1]
    best = -np.sort(-logits, axis=1)[:, :k]
    # Which of several equal classes comes first is open; that their labels are equal is not.
    equal = np.take_along_axis(logits, ids, axis=1) == best
    distinct = np.diff(np.sort(ids, axis=1), axis=1) > 0
    beside = np.take_along_axis(expected, ids, axis=1)
    near = _close(probabilities, beside, Precision.FP16)
    right: NDArray[np.bool_] = np.asarray(np.hstack([equal, distinct, near]).all(axis=1))
    return ~right


def _differ(given: NDArray[np.uint8], expected: NDArray[np.uint8]) -> NDArray[np.bool_]:
    if given.shape != expected.shape:
        return np.ones(len(given), dtype=np.bool_)
    differ: NDArray[np.bool_] = (given != expected).any(axis=1)
    return differ


def _close(
    given: NDArray[Any], expected: NDArray[np.float64], precision: Precision
) -> NDArray[np.bool_]:
    # Below its normal numbers fp16 has steps of 2**-24.
    floor = 2.0**-24 if precision is Precision.FP16 else 0.0
    allowed = _RELATIVE[precision] * expected + floor * (expected < _SMALLEST_NORMAL_FP16)
    close: NDArray[np.bool_] = np.abs(given.astype(np.float64) - expected) <= allowed
    return close


def _whose(known: SpelledSet, row: NDArray[np.uint8], representation: Representation) -> str:
    if representation.form not in (Form.CODES, Form.LOGITS):
        return "other values"
    number, at = known.name_of(row, representation.precision)
    named = next((one for one in (known, *SETS) if one.number == number), None)
    if named is None or not 0 <= at < len(named):
        return "no row of any label set"
    return f"{named.tag} row {at}"
