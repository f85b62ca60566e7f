"""Advice on dense labels: what causes each message, and that what it says works."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray

from labelcast.codec import LabelKind
from labelcast_producers.dense.label_kind import check_label_kind
from labelcast_producers.dense.labels import (
    LABELS_NAME,
    RECORDS_NAME,
    TABLES_NAME,
    DenseLabels,
    open_labels,
)
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.factories.advice import Case, try_advice
from tests.factories.dense import CLASSES, HARD, logits, softened, write_dense
from tests.producers.formats.writers.sre2l import write_sre2l

LOGITS, PROBABILITIES = LabelKind.LOGITS, LabelKind.PROBABILITIES
ROWS = logits()[0].astype(np.float32)
SHARES = softened(logits(), 1.0)


def imported(labels: Path, name: str = "imported", **options: Any) -> DenseLabels:
    """What `labelcast import` writes, as fits and encodings open it."""
    files = Import.open(labels, ImportOptions(**options))
    files.write_dense(labels.parent / name)
    return open_labels(labels.parent / name, None)


def relabelled(at: Path, **changes: Any) -> DenseLabels:
    """What `labelcast relabel` writes."""
    return open_labels(write_dense(at / "dense", **changes), None)


def saved(at: Path, name: str, save: Callable[[Path], object]) -> DenseLabels:
    save(at / name)
    return open_labels(at / name, None)


def with_tensor(at: Path, dtype: torch.dtype) -> DenseLabels:
    labels = torch.from_numpy(ROWS).to(dtype)
    return saved(
        at,
        "labels.safetensors",
        lambda path: safetensors.torch.save_file({"labels": labels}, path),
    )


def every_row(labels: DenseLabels) -> NDArray[Any]:
    return labels.rows.read(0, labels.rows.num_rows)


def of_rows(at: Path, rows: NDArray[np.float32]) -> NDArray[Any]:
    return every_row(saved(at, "labels.npy", lambda path: np.save(path, rows)))


def one_infinite(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([rows[:7], np.full_like(rows[:1], np.inf), rows[8:]])


def other_kind(at: Path, labels: NDArray[Any]) -> DenseLabels:
    """A directory that says its labels are logits, opened as one of probabilities."""
    return open_labels(write_dense(at / "dense", labels), PROBABILITIES)


def imported_as_probabilities(at: Path) -> None:
    labels = imported(at / "dense" / LABELS_NAME, label_kind=PROBABILITIES)
    assert labels.description.label_kind is PROBABILITIES


def other_tables(at: Path) -> DenseLabels:
    path = write_dense(at / "dense") / TABLES_NAME
    tables = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(tables | {"hard_labels": HARD.astype(np.int32)}, path)
    return open_labels(at / "dense", None)


def recorded(at: Path, name: str = "imported") -> DenseLabels:
    """An import whose views are recorded."""
    if not (at / "files").exists():
        write_sre2l(at / "files", samples=6, epochs=1, batch_size=3, classes=5)
    return imported(at / "files", name, num_samples=6)


def with_records(at: Path, change: Callable[[Path], object]) -> DenseLabels:
    recorded(at)
    change(at / "imported" / RECORDS_NAME)
    return open_labels(at / "imported", None)


def one_record_less(path: Path) -> None:
    columns = safetensors.numpy.load_file(path)
    fewer = {name: column[:-1].copy() for name, column in columns.items()}
    safetensors.numpy.save_file(fewer, path)


def of_kind(rows: NDArray[np.float32], kind: LabelKind) -> LabelKind:
    check_label_kind(rows, kind)
    return kind


CASES: list[Case[Path]] = [
    Case(
        "save it with np.save, or turn it into dense labels with `labelcast import`",
        lambda at: saved(at, "labels.npz", lambda path: np.savez(path, labels=ROWS)),
        lambda at: (
            saved(at, "labels.npy", lambda path: np.save(path, ROWS)),
            imported(at / "labels.npz"),
        ),
    ),
    Case(
        "save F16, F32 or BF16 (for instance labels.float())",
        lambda at: with_tensor(at, torch.float64),
        lambda at: [
            with_tensor(at, dtype) for dtype in (torch.float16, torch.float32, torch.bfloat16)
        ],
    ),
    Case(
        "row 7 holds NaN or infinity; relabel or drop that view",
        lambda at: of_rows(at, one_infinite(ROWS)),
        lambda at: (of_rows(at, ROWS), of_rows(at, np.delete(one_infinite(ROWS), 7, axis=0))),
    ),
    Case(
        "leave --label-kind out here, or import the files again with --label-kind probabilities",
        lambda at: other_kind(at, logits()),
        lambda at: open_labels(at / "dense", None),
    ),
    Case(
        "leave --label-kind out here, or import the files again with --label-kind probabilities",
        lambda at: other_kind(at, SHARES),
        imported_as_probabilities,
    ),
    Case(
        "correct them, give --label-kind logits, or label again after the softmax",
        lambda _: of_kind(np.concatenate([SHARES[0], ROWS[:1]]), PROBABILITIES),
        lambda _: (
            of_kind(np.concatenate([SHARES[0], softened(ROWS[:1], 1.0)]), PROBABILITIES),
            of_kind(ROWS, LOGITS),
            of_kind(softened(ROWS, 1.0), PROBABILITIES),
        ),
    ),
    Case(
        "correct those of the data set and relabel, or import again",
        lambda at: relabelled(at, hard=np.where(HARD == 0, CLASSES, HARD)),
        lambda at: (relabelled(at), imported(at / "dense" / LABELS_NAME)),
    ),
    Case(
        "relabel or import again",
        lambda at: relabelled(at, labels=logits()[:-1]),
        lambda at: (relabelled(at), imported(at / "dense" / LABELS_NAME)),
    ),
    Case(
        "holds other tables than relabel writes; relabel or import again",
        other_tables,
        lambda at: (relabelled(at), imported(at / "dense" / LABELS_NAME)),
    ),
    Case(
        "is missing or damaged; import the files again, into another directory",
        lambda at: with_records(at, Path.unlink),
        lambda at: recorded(at, "another"),
    ),
    Case(
        "one record for each label; import the files again, into another directory",
        lambda at: with_records(at, one_record_less),
        lambda at: recorded(at, "another"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
