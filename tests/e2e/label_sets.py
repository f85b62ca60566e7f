"""Label sets whose every right answer is known."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast import DeliveredLabels, Representation, Views
from labelcast.codec import (
    TOLERANCES,
    Codec,
    CodecHeader,
    LabelKind,
    Labels,
    Precision,
    RawCodec,
    Rows,
    TemperatureRange,
)
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.representation import Form
from tests.factories.label_sets import context_of, make_codec, make_rows, write_label_set

REPRESENTATIONS = {
    "codes": Representation.codes(),
    "logits-fp16": Representation.logits(),
    "logits-fp32": Representation.logits(Precision.FP32),
    "probabilities-fp16": Representation.probabilities(1.0),
    "probabilities-fp32": Representation.probabilities(1.0, Precision.FP32),
    "top-1": Representation.top_k(1, 1.0),
    "top-5": Representation.top_k(5, 1.0),
}


@dataclass(frozen=True, eq=False)
class KnownLabelSet:
    """A label set with what the numpy reference decodes."""

    on_disk: LabelSetDirectory
    codec: Codec
    rows: Rows
    context: Rows | None
    labels: Labels
    views: Views

    def allows(self, representation: Representation) -> bool:
        logits = self.codec.header.label_kind is LabelKind.LOGITS
        return representation.form is not Form.LOGITS or logits

    def check(
        self, delivered: DeliveredLabels, at: NDArray[Any], representation: Representation
    ) -> None:
        """Assert that `delivered` are the labels of views number `at`, in that order."""
        assert len(delivered.rows) == len(at)
        assert not delivered.rows.flags.writeable
        if representation.form is Form.CODES:
            np.testing.assert_array_equal(delivered.rows, self.rows[at])
        elif representation.form is Form.LOGITS:
            self._check_dense(delivered, self.labels[at], representation)
        elif representation.form is Form.PROBABILITIES:
            self._check_dense(delivered, self._probabilities(at, representation), representation)
        else:
            self._check_top_k(delivered, self._probabilities(at, representation), representation)

    def _check_dense(
        self, delivered: DeliveredLabels, expected: Labels, representation: Representation
    ) -> None:
        precision = representation.precision
        assert precision is not None
        assert delivered.values.dtype == precision.dtype
        if isinstance(self.codec, RawCodec) and representation.form is Form.LOGITS:
            np.testing.assert_array_equal(delivered.values, expected.astype(precision.dtype))
        given = delivered.values.astype(np.float32)
        assert TOLERANCES[precision].accepts(given, expected), self._whose(given, expected)

    def _whose(self, given: Labels, expected: Labels) -> str:
        """Where rows that are wrong belong: a rare failure must say what it was."""
        wrong = np.flatnonzero(np.abs(given - expected).max(axis=1) > 0.05)
        nearest = [int(np.abs(self.labels - given[row]).max(axis=1).argmin()) for row in wrong]
        furthest = float(np.abs(given - expected).max())
        return f"rows {wrong.tolist()} are those of views {nearest}; differences up to {furthest:g}"

    def _check_top_k(
        self, delivered: DeliveredLabels, expected: Labels, representation: Representation
    ) -> None:
        ids, probabilities = delivered.top_k()
        ranked = -np.sort(-expected, axis=1)[:, : representation.k]
        tolerance = TOLERANCES[Precision.FP16]
        assert tolerance.accepts(probabilities, ranked)
        # Ties may fall either way: what counts is that each class has the probability beside it.
        assert tolerance.accepts(probabilities, np.take_along_axis(expected, ids, axis=1))
        assert all(len(set(row)) == len(row) for row in ids.tolist())

    def _probabilities(self, at: NDArray[Any], representation: Representation) -> Labels:
        labels: Labels = self.labels[at]
        if self.codec.header.label_kind is LabelKind.PROBABILITIES:
            return labels
        assert representation.temperature is not None
        scaled = (labels - labels.max(axis=1, keepdims=True)) / representation.temperature
        powers: NDArray[np.float64] = np.exp(scaled.astype(np.float64))
        softmax: Labels = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return softmax


def known_label_set(
    directory: Path,
    codec: Codec | str,
    *,
    num_samples: int = 300,
    num_seeds: int = 4,
    num_classes: int = 40,
    seed: int = 0,
    **options: Any,
) -> KnownLabelSet:
    """A label set of random rows; `codec` is one, or a name that `make_codec` or we know."""
    rng = np.random.default_rng(seed)
    made = _codec(codec, num_classes, rng) if isinstance(codec, str) else codec
    rows = _rows(made, num_samples * num_seeds, rng)
    label_set = write_label_set(
        directory, made, rows, num_samples=num_samples, num_seeds=num_seeds, **options
    )
    return _known(label_set, made, rows)


def identity_label_set(
    directory: Path, set_number: int, *, num_samples: int = 500, num_seeds: int = 8
) -> KnownLabelSet:
    """A `raw` label set whose every row spells its own name: set, sample's rank, seed's rank."""
    codec = RawCodec(CodecHeader(3, LabelKind.LOGITS, None), Precision.FP16)
    seeds, samples = np.divmod(np.arange(num_samples * num_seeds), num_samples)
    names = np.stack([np.full(len(seeds), set_number), samples, seeds], axis=1)
    rows = names.astype("<f2").view(np.uint8).reshape(len(names), -1)
    label_set = write_label_set(
        directory, codec, rows, num_samples=num_samples, num_seeds=num_seeds, shard_bytes=65_000
    )
    return _known(label_set, codec, rows)


def _known(label_set: LabelSetDirectory, codec: Codec, rows: Rows) -> KnownLabelSet:
    views = label_set.index().segments[0].views()
    context = context_of(label_set)
    return KnownLabelSet(label_set, codec, rows, context, codec.decode(rows, context), views)


def _codec(name: str, num_classes: int, rng: np.random.Generator) -> Codec:
    if name == "raw-fp32":
        return RawCodec(CodecHeader(num_classes, LabelKind.LOGITS, None), Precision.FP32)
    if name == "raw-probabilities":
        at_one = TemperatureRange(1.0, 1.0)
        header = CodecHeader(num_classes, LabelKind.PROBABILITIES, at_one)
        return RawCodec(header, Precision.FP16)
    return make_codec(name, num_classes, rng)  # type: ignore[arg-type]


def _rows(codec: Codec, count: int, rng: np.random.Generator) -> Rows:
    if not isinstance(codec, RawCodec):
        return make_rows(codec, count, rng)
    classes = codec.header.num_classes
    if codec.header.label_kind is LabelKind.PROBABILITIES:
        values = rng.dirichlet(np.ones(classes), size=count)
    else:
        values = rng.normal(scale=3, size=(count, classes))
    stored = np.ascontiguousarray(values.astype(codec.precision.dtype))
    return stored.view(np.uint8).reshape(count, -1)
