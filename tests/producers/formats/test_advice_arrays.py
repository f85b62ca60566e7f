"""Advice in messages on plain arrays of labels: what causes each, and that it works."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from labelcast.codec import LabelKind
from labelcast_producers.formats.arrays import ArrayImporter, ArraySource
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.factories.advice import Case, try_advice
from tests.factories.dense import softened
from tests.producers.formats.damaged_files import read, slug
from tests.producers.formats.truth_checks import names
from tests.producers.formats.writers.arrays import Container, write_arrays

UNTOLD = ImportOptions()
ROWS = np.random.default_rng(0).normal(0, 3, (6, 4)).astype(np.float32)
WHOLE: list[list[float | None] | None] = ROWS.tolist()


def written(path: Path, container: Container) -> Path:
    write_arrays(path, container=container, samples=7, classes=5)
    return path / f"labels.{container}"


def cut(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[:-40])
    return file


def table(file: Path, rows: Any = WHOLE, **columns: Any) -> Import:
    pq.write_table(pa.table({"labels": pa.array(rows, pa.list_(pa.float32())), **columns}), file)
    return read(file)


def npz(file: Path, options: ImportOptions = UNTOLD, **arrays: NDArray[Any]) -> Import:
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return read(file, options)


def tensors(file: Path, **arrays: NDArray[Any]) -> Import:
    save_file(arrays, file)
    return read(file)


def opened(file: Path, **arrays: NDArray[Any]) -> ArraySource:
    """What whoever opens files without having them recognised meets."""
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return ArrayImporter().open(file, UNTOLD)


def array(file: Path, values: NDArray[Any], options: ImportOptions = UNTOLD) -> Import:
    np.save(file, values)
    return read(file, options)


def ragged_objects() -> NDArray[Any]:
    """Labels as a list of rows makes them where a row is no array of numbers."""
    objects = np.empty(len(ROWS), dtype=object)
    objects[:] = list(ROWS)
    return objects


SHUFFLED = {"sample_id": [1, 2, 1, 2, 1, 2], "seed": [0, 1, 1, 0, 2, 2]}


def sorted_by(at: Path, *keys: str) -> Import:
    stored = pq.read_table(at / "a.parquet")
    pq.write_table(stored.sort_by([(key, "ascending") for key in keys]), at / "sorted.parquet")
    return read(at / "sorted.parquet")


def without_row(at: Path, row: int) -> Import:
    stored = pq.read_table(at / "a.parquet")
    kept = [each for each in range(len(ROWS)) if each != row]
    pq.write_table(stored.take(kept), at / "b.parquet")
    return read(at / "b.parquet")


KIND_ALONE = {
    kind: ImportOptions(label_kind=kind) for kind in (LabelKind.LOGITS, LabelKind.PROBABILITIES)
}

CASES: list[Case[Path]] = [
    Case(
        "holds no array of labels: save one of floats, (N, C) or (seeds, N, C)",
        lambda at: opened(at / "a.npz", first=ROWS, second=ROWS),
        lambda at: (
            opened(at / "a.npz", first=ROWS),
            opened(at / "a.npz", first=np.stack([ROWS, ROWS])),
        ),
    ),
    Case(
        "cannot tell what weights is; save labels and sample_ids alone",
        lambda at: npz(at / "a.npz", labels=ROWS, weights=np.arange(6)),
        lambda at: npz(at / "a.npz", labels=ROWS, sample_ids=np.arange(6)),
    ),
    Case(
        "has one class, which tells nothing; give --label-kind",
        lambda at: array(at / "a.npy", ROWS[:, :1]),
        lambda at: (
            array(at / "a.npy", ROWS[:, :1], KIND_ALONE[LabelKind.LOGITS]),
            array(at / "a.npy", np.ones_like(ROWS[:, :1]), KIND_ALONE[LabelKind.PROBABILITIES]),
        ),
    ),
    Case(
        "has seeds without sample IDs; add a column sample_id",
        lambda at: table(at / "a.parquet", seed=[0, 0, 0, 1, 1, 1]),
        lambda at: table(at / "a.parquet", seed=[0, 0, 0, 1, 1, 1], sample_id=[0, 1, 2] * 2),
    ),
    Case(
        "rows are sorted neither by seed nor by sample ID; sort them by either",
        lambda at: table(at / "a.parquet", **SHUFFLED),
        lambda at: (sorted_by(at, "seed"), sorted_by(at, "sample_id")),
    ),
    Case(
        "row 4: sample ID 5 under seed 0 is there twice; remove one",
        lambda at: table(at / "a.parquet", sample_id=[1, 2, 3, 4, 5, 5], seed=[0] * 6),
        lambda at: (without_row(at, 4), without_row(at, 5)),
    ),
    Case(
        "where 6 integers belong; save one for each sample",
        lambda at: npz(at / "a.npz", labels=ROWS, ids=np.arange(5)),
        lambda at: npz(at / "a.npz", labels=ROWS, ids=np.arange(6)),
    ),
    Case(
        "where 6 integers belong; save one for each sample",
        lambda at: tensors(at / "a.safetensors", labels=ROWS, sample_ids=np.arange(6.0)),
        lambda at: tensors(at / "a.safetensors", labels=ROWS, sample_ids=np.arange(6)),
    ),
    Case(
        "holds float64; save float16 or float32 (for instance labels.astype(np.float32))",
        lambda at: npz(at / "a.npz", labels=ROWS.astype(np.float64)),
        lambda at: (
            npz(at / "a.npz", labels=ROWS.astype(np.float16)),
            npz(at / "a.npz", labels=ROWS.astype(np.float64).astype(np.float32)),
        ),
    ),
    Case(
        "whose rows are scattered; save np.ascontiguousarray(labels)",
        lambda at: npz(at / "a.npz", labels=np.asfortranarray(ROWS)),
        lambda at: npz(at / "a.npz", labels=np.ascontiguousarray(np.asfortranarray(ROWS))),
    ),
    Case(
        "which are never run; save numbers (for instance np.stack(labels))",
        lambda at: npz(at / "a.npz", labels=ragged_objects()),
        lambda at: npz(at / "a.npz", labels=np.stack(list(ragged_objects()))),
    ),
    Case(
        "row 1: labels is null; write the file again",
        lambda at: table(at / "a.parquet", [WHOLE[0], None, *WHOLE[2:]]),
        lambda at: table(at / "a.parquet"),
    ),
    Case(
        "row 2: a value of labels is null; write the file again",
        lambda at: table(at / "a.parquet", [*WHOLE[:2], [1.0, 2.0, None, 3.0], *WHOLE[3:]]),
        lambda at: table(at / "a.parquet"),
    ),
    Case(
        "the first row has 4; write the file again",
        lambda at: table(at / "a.parquet", [*WHOLE[:5], [1.0, 2.0, 3.0]]),
        lambda at: table(at / "a.parquet"),
    ),
    Case(
        "row 2: sample_id is null; write the file again",
        lambda at: table(at / "a.parquet", sample_id=[1, 2, None, 4, 5, 6]),
        lambda at: table(at / "a.parquet", sample_id=[1, 2, 3, 4, 5, 6]),
    ),
    Case(
        "but 3 class names were given; give the names that the teacher knew",
        lambda at: npz(at / "a.npz", ImportOptions(class_names=names(3)), labels=ROWS),
        lambda at: npz(at / "a.npz", ImportOptions(class_names=names(4)), labels=ROWS),
    ),
    Case(
        "label again after the softmax",
        lambda at: array(at / "a.npy", ROWS, KIND_ALONE[LabelKind.PROBABILITIES]),
        lambda at: (
            array(at / "a.npy", ROWS, KIND_ALONE[LabelKind.LOGITS]),
            array(at / "a.npy", softened(ROWS, 1.0), KIND_ALONE[LabelKind.PROBABILITIES]),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)


@pytest.mark.parametrize(
    ("container", "says"),
    [
        ("npz", "or is truncated or damaged (File is not a zip file); write it again"),
        ("safetensors", "; write it again"),
        ("parquet", "); copy it again"),
    ],
)
def test_a_file_that_was_cut(container: Container, says: str, tmp_path: Path) -> None:
    file = written(tmp_path, container)
    case = Case[Path](
        says,
        lambda _: read(cut(file)),
        lambda at: read(written(at / "again", container)),
    )
    try_advice(case, tmp_path)
