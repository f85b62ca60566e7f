"""Dense labels: read as they were written, or refused with a reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from labelcast.codec import LabelKind
from labelcast.errors import LabelcastError, LabelFileError
from labelcast.label_set import to_canonical
from labelcast_producers.dense.labels import (
    DESCRIPTION_NAME,
    LABELS_NAME,
    TABLES_NAME,
    DenseLabels,
    Description,
    open_labels,
)
from tests.factories.dense import (
    CLASSES,
    HARD,
    IDS,
    SAMPLES,
    SEEDS,
    description_of,
    logits,
    write_dense,
)

PROBABILITIES: dict[str, Any] = {"label_kind": LabelKind.PROBABILITIES, "temperature": 2.0}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    dense = DenseLabels.open(write_dense(tmp_path))
    assert dense.description == description_of()
    assert dense.index.sample_ids.tolist() == IDS.tolist()
    assert dense.hard_labels is not None
    assert dense.hard_labels.tolist() == HARD.tolist()
    assert np.array_equal(dense.rows.read(0, dense.rows.num_rows), logits().reshape(-1, CLASSES))
    views = dense.index.views()
    row = 2 * SAMPLES + 7
    assert (views.seeds[row], views.sample_ids[row]) == (2, IDS[7])
    assert np.array_equal(dense.rows.read(row, row + 1)[0], logits()[2, 7])


def test_hard_labels_may_be_unknown(tmp_path: Path) -> None:
    assert DenseLabels.open(write_dense(tmp_path, hard=None)).hard_labels is None


@pytest.mark.parametrize("changes", [{}, {"policy": None}, PROBABILITIES], ids=str)
def test_a_description_comes_back(changes: dict[str, Any]) -> None:
    description = description_of(**changes)
    assert Description.from_bytes(description.to_bytes()) == description


@pytest.mark.parametrize("name", [DESCRIPTION_NAME, LABELS_NAME, TABLES_NAME])
def test_an_unfinished_directory_is_refused(tmp_path: Path, name: str) -> None:
    (write_dense(tmp_path) / name).unlink()
    with pytest.raises(LabelFileError):
        DenseLabels.open(tmp_path)


@pytest.mark.parametrize("name", [DESCRIPTION_NAME, LABELS_NAME, TABLES_NAME])
def test_every_truncation_is_refused(tmp_path: Path, name: str) -> None:
    path = write_dense(tmp_path) / name
    content = path.read_bytes()
    for length in {0, 1, 7, 8, 9, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(LabelFileError):
            DenseLabels.open(tmp_path)


@pytest.mark.parametrize(
    "shape",
    [
        (SEEDS, SAMPLES, CLASSES + 1),
        (SEEDS, SAMPLES - 1, CLASSES),
        (SEEDS + 1, SAMPLES, CLASSES),
        (SAMPLES, SEEDS, CLASSES),
        (SEEDS * SAMPLES // 2, 2, CLASSES),
    ],
    ids=str,
)
def test_labels_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(LabelFileError):
        DenseLabels.open(write_dense(tmp_path, np.zeros(shape, np.float16)))


def tables(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "sample_ids": IDS,
        "seeds": np.arange(SEEDS, dtype=np.uint32),
        "hard_labels": HARD,
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


@pytest.mark.parametrize(
    "wrong",
    [
        tables(sample_ids=None),
        tables(seeds=None),
        tables(sample_ids=IDS.astype(np.int64)),
        tables(seeds=np.arange(SEEDS)),
        tables(sample_ids=IDS[::-1].copy()),
        tables(seeds=np.zeros(SEEDS, np.uint32)),
        tables(hard_labels=HARD[:-1]),
        tables(hard_labels=HARD.astype(np.int32)),
        tables(sample_ids=IDS[:-1], hard_labels=HARD[:-1]),
        tables(seeds=np.arange(SEEDS + 1, dtype=np.uint32)),
    ],
    ids=[
        "no IDs",
        "no seeds",
        "signed IDs",
        "wide seeds",
        "falling IDs",
        "repeated seeds",
        "few hard labels",
        "narrow hard labels",
        "few samples",
        "many seeds",
    ],
)
def test_contradictory_tables_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    write_dense(tmp_path)
    safetensors.numpy.save_file(wrong, tmp_path / TABLES_NAME)
    with pytest.raises(LabelFileError):
        DenseLabels.open(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "labelcast/dense-labels/2"),
        ("label_kind", "odds"),
        ("label_kind", "probabilities"),
        ("label_kind", None),
        ("temperature", 2.0),
        ("temperature", "1.0"),
        ("temperature", 1),
        ("policy", []),
        ("policy", "none"),
        ("policy", {}),
        ("num_classes", 0),
        ("num_classes", 6.0),
        ("num_classes", CLASSES + 1),
        ("teacher", "a teacher"),
        ("dataset", None),
        ("surprise", 1),
    ],
)
def test_a_contradictory_description_is_refused(tmp_path: Path, field: str, value: Any) -> None:
    path = write_dense(tmp_path) / DESCRIPTION_NAME
    path.write_bytes(to_canonical(json.loads(path.read_bytes()) | {field: value}))
    with pytest.raises(LabelFileError):
        DenseLabels.open(tmp_path)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_probabilities_have_a_temperature_above_0(tmp_path: Path, temperature: float) -> None:
    directory = write_dense(tmp_path, **(PROBABILITIES | {"temperature": temperature}))
    with pytest.raises(LabelFileError, match="temperature"):
        DenseLabels.open(directory)


def test_a_plain_file_of_rows_is_one_seed(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", logits()[0])
    dense = open_labels(tmp_path / "labels.npy", LabelKind.LOGITS)
    assert dense.index.sample_ids.tolist() == list(range(SAMPLES))
    assert dense.index.seeds.tolist() == [0]
    assert dense.description.policy is None
    assert dense.description.temperature is None
    assert dense.hard_labels is None


def test_a_plain_file_of_seeds_is_seed_major(tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", logits())
    dense = open_labels(tmp_path / "labels.npy", LabelKind.PROBABILITIES, temperature=3.0)
    assert (len(dense.index.sample_ids), dense.index.seeds.tolist()) == (SAMPLES, [0, 1, 2, 3])
    assert dense.description.temperature == 3.0
    assert np.array_equal(dense.rows.read(SAMPLES, SAMPLES + 1)[0], logits()[1, 0])


def test_a_plain_file_is_its_own_identity(tmp_path: Path) -> None:
    identities = set()
    for number in range(3):
        path = tmp_path / f"{number}.npy"
        np.save(path, logits()[number // 2])
        identities.add(open_labels(path, LabelKind.LOGITS).description.teacher)
    assert len(identities) == 2


def test_a_directory_or_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.npy", tmp_path / "none"):
        with pytest.raises(LabelcastError):
            open_labels(path, LabelKind.LOGITS)
