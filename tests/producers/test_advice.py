"""Every piece of advice is tried: what causes the error, what its message says, and that it works.

The test_advice.py of each room below tries that room's own. Advice on teachers is tried in
relabel/test_teacher.py, on interrupted runs in the test_resume.py of relabel and fitting.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from labelcast.cli.app import app
from labelcast.codec import LabelKind
from labelcast_producers.budget.published import samples_of, setting_of
from labelcast_producers.dense.files import LabelFile, open_label_file
from labelcast_producers.dense.label_kind import check_label_kind
from labelcast_producers.dense.labels import (
    DESCRIPTION_NAME,
    LABELS_NAME,
    TABLES_NAME,
    DenseLabels,
    open_labels,
)
from labelcast_producers.neural.chosen_encoder import choose_encoder
from labelcast_producers.relabel.import_path import load_object
from tests.factories.advice import Case, try_advice
from tests.factories.dense import description_of, logits, softened, write_dense
from tests.producers.formats.writers.producer_pixels import write_image_folder
from tests.producers.formats.writers.sre2l import write_sre2l

ROWS = logits()[0].astype(np.float32)
SHARES = softened(ROWS, 1.0)


def opened(directory: Path, values: NDArray[Any]) -> LabelFile:
    np.save(directory / "labels.npy", values)
    return open_label_file(directory / "labels.npy")


def opened_tensors(directory: Path, name: str | None, **tensors: NDArray[Any]) -> LabelFile:
    safetensors.numpy.save_file(tensors, directory / "labels.safetensors")
    return open_label_file(directory / "labels.safetensors", tensor=name)


def encoded(text: str, values: NDArray[Any]) -> object:
    chosen = choose_encoder(text, description_of(), temperature=1.0, device="cpu")
    return chosen.encoder.encode(values)


def of_kind(values: NDArray[Any], kind: LabelKind) -> LabelKind:
    check_label_kind(values, kind)
    return kind


def without(directory: Path, name: str) -> DenseLabels:
    """Dense labels of which one file is missing."""
    (write_dense(directory) / name).unlink()
    return DenseLabels.open(directory)


def command(*words: str) -> object:
    return app([*words], standalone_mode=False)


def fitted(labels: Path, at: Path) -> object:
    return command(
        *("fit", "--labels", str(labels), "--out", str(at / "codec"), "--quiet"),
        *("--codes", "1", "--codebook-size", "2", "--steps", "2"),
    )


def written_files(at: Path) -> Path:
    write_sre2l(at / "files", samples=8, epochs=1, batch_size=4, classes=4, view=32)
    return at / "files"


def imported(at: Path) -> Path:
    command(
        *("import", str(at / "files"), "--out", str(at / "dense"), "--quiet"),
        *("--samples", "8", "--view-size", "32"),
    )
    return at / "dense"


def written_images(at: Path) -> Path:
    write_image_folder(at / "images", samples=10, classes=5)
    return at / "images"


def relabelled(at: Path) -> Path:
    command(
        *("relabel", "--teacher", "tests.factories.relabelling:SmallTeacher"),
        *("--images", str(at / "images"), "--image-size", "6", "--teacher-args", '{"channels": 3}'),
        *("--seeds", "1", "--out", str(at / "dense"), "--quiet"),
    )
    return at / "dense"


def module_in(directory: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    (directory / "module_of_advice.py").write_text("teacher = 5")
    with monkeypatch.context() as path:
        path.syspath_prepend(directory)
        return load_object("module_of_advice:teacher")


CASES: list[Case[Path]] = [
    Case(
        "labels are (rows, classes), or (seeds, samples, classes)",
        lambda at: opened(at, ROWS[0]),
        lambda at: (opened(at, ROWS), opened(at, ROWS[None])),
    ),
    Case(
        "save float16 or float32 (for instance labels.astype(np.float32))",
        lambda at: opened(at, ROWS.astype(np.float64)),
        lambda at: (opened(at, ROWS.astype(np.float16)), opened(at, ROWS.astype(np.float32))),
    ),
    Case(
        "save np.ascontiguousarray(labels)",
        lambda at: opened(at, np.asfortranarray(ROWS)),
        lambda at: opened(at, np.ascontiguousarray(np.asfortranarray(ROWS))),
    ),
    Case(
        "give a directory that `labelcast relabel` or `labelcast import` wrote, or a .npy or"
        " .safetensors file",
        lambda at: open_labels(at / "absent", LabelKind.LOGITS),
        lambda at: (
            open_labels(write_dense(at / "dense"), LabelKind.LOGITS),
            opened(at, ROWS),
            opened_tensors(at, None, labels=ROWS),
        ),
    ),
    Case(
        "give --label-kind probabilities (a directory: to the import that wrote it)",
        lambda _: of_kind(SHARES, LabelKind.LOGITS),
        lambda _: (
            of_kind(SHARES, LabelKind.PROBABILITIES),
            of_kind(ROWS, LabelKind.LOGITS),
        ),
    ),
    Case(
        "use fp16 or fp32",
        lambda _: encoded("raw:fp8", ROWS),
        lambda _: (encoded("raw:fp16", ROWS), encoded("raw:fp32", ROWS)),
    ),
    Case(
        "use fp32",
        lambda _: encoded("raw:fp16", ROWS * 1e5),
        lambda _: encoded("raw:fp32", ROWS * 1e5),
    ),
    Case(
        "is no recovery; use spread or renormalise or zero",
        lambda _: encoded("topk:2:guess", ROWS),
        lambda _: [
            encoded(f"topk:2:{recovery}", ROWS) for recovery in ("spread", "renormalise", "zero")
        ],
    ),
    Case(
        "no directory from `labelcast fit`, nor raw:fp16 or topk:K",
        lambda _: encoded("nowhere", ROWS),
        lambda _: (encoded("raw:fp16", ROWS), encoded("topk:2", ROWS)),
    ),
    Case(
        "finish `labelcast relabel` or `import`",
        lambda at: without(at, DESCRIPTION_NAME),
        lambda at: DenseLabels.open(write_dense(at)),
    ),
    Case(
        "label images with `labelcast relabel`, or bring in files of labels with `labelcast"
        " import`, and give what that wrote",
        lambda at: fitted(written_files(at), at),
        lambda at: fitted(imported(at), at),
    ),
    Case(
        "label images with `labelcast relabel`, or bring in files of labels with `labelcast"
        " import`, and give what that wrote",
        lambda at: fitted(written_images(at), at),
        lambda at: fitted(relabelled(at), at),
    ),
    Case(
        "relabel or import again",
        lambda at: without(at, TABLES_NAME),
        lambda at: DenseLabels.open(write_dense(at)),
    ),
    Case(
        "relabel or import again",
        lambda at: without(at, LABELS_NAME),
        lambda at: DenseLabels.open(write_dense(at)),
    ),
    Case(
        "or labelcast-N",
        lambda _: setting_of("mine", samples_of(10)),
        lambda _: command("budget", "--setting", "labelcast-8"),
    ),
    Case(
        "give either --dataset or --images",
        lambda at: command(
            *("relabel", "--teacher", "tests.factories.relabelling:SmallTeacher"),
            *("--seeds", "1", "--out", str(at / "out"), "--quiet"),
        ),
        lambda at: command(
            *("relabel", "--teacher", "tests.factories.relabelling:SmallTeacher"),
            *("--dataset", "tests.factories.pictures:Pictures"),
            *("--seeds", "1", "--out", str(at / "out"), "--quiet"),
        ),
    ),
    Case(
        "name one with --recipe",
        lambda _: command("relabel", "--show"),
        lambda _: command("relabel", "--show", "--recipe", "rded"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)


def test_a_module_that_is_not_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says = "install it or set PYTHONPATH"
    case = Case[Path](
        says,
        lambda _: load_object("module_of_advice:teacher"),
        lambda at: module_in(at, monkeypatch),
    )
    try_advice(case, tmp_path)


def test_one_tensor_of_several(tmp_path: Path) -> None:
    case = Case[Path](
        "holds tensors ['first', 'second']: name one",
        lambda at: opened_tensors(at, None, first=ROWS, second=ROWS),
        lambda at: [
            opened_tensors(at, name, first=ROWS, second=ROWS) for name in ("first", "second")
        ],
    )
    try_advice(case, tmp_path)
