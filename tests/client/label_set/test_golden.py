"""Label sets that an earlier version wrote, read from their directories."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from labelcast.label_set_directory import LabelSetDirectory
from tests.factories.decoded import assert_same_labels
from tests.factories.label_sets import CodecName, make_label_set
from tests.golden.expected import EXACT, LATER, NAMES, expected, label_set_directory
from tests.golden.make import make_sequences


@pytest.mark.parametrize("name", NAMES)
def test_every_label_is_what_it_was(name: str) -> None:
    label_set, known = LabelSetDirectory(label_set_directory(name)), expected(name)
    assert label_set.digest == known.digest
    assert label_set.manifest.num_labels == len(known.views)
    rows = label_set.gather(known.views)
    np.testing.assert_array_equal(rows, known.rows)
    labels = label_set.decoder().decode(rows, known.views)
    if name in EXACT:
        np.testing.assert_array_equal(labels, known.labels)
    else:
        assert_same_labels(labels, known.labels)


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_view_is_what_it_was(name: str) -> None:
    known, records = expected(name), LabelSetDirectory(label_set_directory(name)).records()
    assert (records is None) == (not known.recorded)
    if records is None:
        return
    replayed = records.of(known.views)
    for field in dataclasses.fields(replayed):
        column = getattr(replayed, field.name)
        assert (field.name in known.recorded) == bool(column.size)
        if column.size:
            np.testing.assert_array_equal(column, known.recorded[field.name])


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest_is_written_as_it_was_read(name: str) -> None:
    written = (label_set_directory(name) / "manifest.json").read_bytes()
    assert LabelSetDirectory(label_set_directory(name)).manifest.to_bytes() == written


@pytest.mark.parametrize(("name", "codec"), [("raw", "raw"), ("top-k", "topk")])
def test_what_is_made_again_has_the_same_digest(
    name: str, codec: CodecName, tmp_path: Path
) -> None:
    made, _ = make_label_set(tmp_path, codec, num_samples=8, num_classes=5)
    assert made.digest == expected(name).digest


def test_sequences_that_are_made_again_have_the_same_digest(tmp_path: Path) -> None:
    make_sequences(tmp_path)
    for name in LATER:
        assert LabelSetDirectory(tmp_path / name).digest == expected(name).digest
