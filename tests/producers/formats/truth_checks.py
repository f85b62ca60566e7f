"""Compares what an importer reads with what a writer wrote, view by view."""

from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelcastError
from labelcast_producers.formats.output.top_k import TopKSource
from labelcast_producers.formats.shared.foreign_rows import ForeignRows
from labelcast_producers.formats.source import Finding, ImportOptions, Source
from tests.producers.formats.writers.truth import Truth

SourceT_co = TypeVar("SourceT_co", bound=Source, covariant=True)


def names(count: int) -> tuple[str, ...]:
    """Some class names."""
    return tuple(f"class_{number:03d}" for number in range(count))


class Opens(Protocol[SourceT_co]):
    """An importer, by what it opens."""

    def detect(self, path: Path) -> Finding | None:
        """See `Importer`."""

    def open(self, path: Path, options: ImportOptions) -> SourceT_co:
        """See `Importer`."""


def finding_of(importer: Opens[Source], path: Path) -> Finding:
    """What an importer says of files that are of its format."""
    finding = importer.detect(path)
    assert finding is not None
    return finding


def open_own(importer: Opens[SourceT_co], path: Path, options: ImportOptions) -> SourceT_co:
    """Open files that are of an importer's format, every one of them."""
    assert finding_of(importer, path).foreign == ()
    return importer.open(path, options)


def rows_of_truth(source: Source, truth: Truth) -> NDArray[np.int64]:
    """Where the truth has each row of a source."""
    views = source.facts.index.views()
    pairs = zip(views.sample_ids.tolist(), views.seeds.tolist(), strict=True)
    return np.array([truth.row(sample_id, seed) for sample_id, seed in pairs], dtype=np.int64)


def check_labels(source: Source, truth: Truth, *, exact: bool) -> None:
    """Every label is there once and in its place."""
    facts = source.facts
    assert facts.index.num_rows == len(truth)
    assert str(facts.label_kind) == truth.label_kind
    assert facts.num_classes == truth.labels.shape[1]
    expected = truth.labels[rows_of_truth(source, truth)]
    found = np.concatenate([block.copy() for block in ForeignRows(source).blocks(0)])
    if exact:
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, rtol=2**-10, atol=1e-6)


def check_top_k(source: Source, truth: Truth) -> None:
    """Classes and values are as stored, and parts hold consecutive rows."""
    assert isinstance(source, TopKSource)
    assert truth.top_indices is not None
    assert truth.top_values is not None
    rows = np.concatenate([part.rows for part in source.parts])
    assert rows.tolist() == list(range(len(truth)))
    pairs = [source.read_top_k(part) for part in source.parts]
    order = rows_of_truth(source, truth)
    np.testing.assert_array_equal(
        np.concatenate([ids for ids, _ in pairs]), truth.top_indices[order]
    )
    values = np.concatenate([values for _, values in pairs])
    np.testing.assert_array_equal(values, truth.top_values[order].astype(np.float32))


def check_records(source: Source, truth: Truth, *, rtol: float = 0) -> None:
    """Crops and flips are as drawn, and nothing else is recorded."""
    records = source.records()
    assert records is not None
    assert truth.coords is not None
    assert truth.flip is not None
    order = rows_of_truth(source, truth)
    expected = truth.coords[order].astype(np.float64)
    np.testing.assert_allclose(records.crop, expected, rtol=rtol, atol=0)
    np.testing.assert_array_equal(records.flip, truth.flip[order])
    views = source.facts.index.views()
    np.testing.assert_array_equal(records.partner_sample_ids, views.sample_ids)
    np.testing.assert_array_equal(records.partner_seeds, views.seeds)
    assert (records.lam == 1).all()
    assert not records.box.any()


def one_line(error: LabelcastError, *parts: str) -> None:
    """An error is one line, and names what it should."""
    assert "\n" not in error.message
    for part in parts:
        assert part in error.message, error.message
