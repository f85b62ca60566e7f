"""Advice on relabelling: what causes each message, and that what it says works.

Advice on teachers is tried in test_teacher.py, on damaged progress in test_resume.py.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from labelcast.errors import StoreFullError
from labelcast.torch import SampleTable
from labelcast_producers.dense.labels import LABELS_NAME, DenseLabels
from labelcast_producers.relabel.import_path import load_object
from labelcast_producers.relabel.label_writer import LabelWriter
from labelcast_producers.relabel.relabeller import relabel
from tests.factories.advice import Case, try_advice
from tests.factories.pictures import CLASSES, Pictures
from tests.factories.relabelling import SmallTeacher
from tests.factories.tiny_disk import tiny_disk

SAMPLES, SEEDS = 9, 2


class Interrupted(SmallTeacher):
    """Labels two batches."""

    def forward(self, images: Tensor) -> Tensor:
        if self.shown == 2:
            raise KeyboardInterrupt
        return super().forward(images)


def function_that_returns_one() -> nn.Module:
    return SmallTeacher()


def run(
    out: Path,
    teacher: object = None,
    pictures: Pictures | None = None,
    *,
    seeds: int = SEEDS,
    **options: Any,
) -> DenseLabels:
    return relabel(
        SmallTeacher() if teacher is None else teacher,  # type: ignore[arg-type]
        SampleTable(Pictures(SAMPLES) if pictures is None else pictures),
        None,
        seeds=seeds,
        out=out,
        teacher_name="small",
        device="cpu",
        batch_rows=4,
        save_seconds=0,
        **options,
    )


def named(out: Path, name: str) -> DenseLabels:
    return run(out, load_object(f"tests.producers.relabel.test_advice:{name}"))


def with_weights(change: Callable[[Tensor], object]) -> SmallTeacher:
    teacher = SmallTeacher()
    with torch.no_grad():
        change(teacher.weight)
    return teacher


def with_pixels(change: Callable[[Tensor], object]) -> Pictures:
    pictures = Pictures(SAMPLES)
    change(pictures.pixels)
    return pictures


def labelled_as(hard_label: int, class_names: list[str] = CLASSES) -> Pictures:
    """A data set of which one item has this hard label."""
    pictures = Pictures(SAMPLES)
    pictures.labels[3] = hard_label
    pictures.class_names = class_names
    return pictures


def of_no_class(out: Path) -> None:
    teacher = SmallTeacher()
    try:
        run(out, teacher, labelled_as(len(CLASSES)))
    finally:
        assert teacher.shown == 0, "labels were made before the refusal"


def unfinished(out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(out, Interrupted())
    run(out, SmallTeacher(seed=1))


def repeated_elsewhere_or_fresh(out: Path) -> None:
    other = SmallTeacher(seed=1)
    run(out / "another", other)
    teacher = SmallTeacher()
    run(out, teacher)
    # Two of its six batches were there, one of which is labelled again to compare.
    assert teacher.shown == 5
    with pytest.raises(KeyboardInterrupt):
        run(out, Interrupted())
    run(out, other, fresh=True)


def open_what_is_gone(out: Path) -> None:
    with LabelWriter(out / LABELS_NAME, (SEEDS, SAMPLES, len(CLASSES))).opened():
        pass


def to_be_checked(cause: Callable[[Path], object]) -> Case[Path]:
    return Case(
        "check its weights and inputs, then start over with --fresh (in Python: fresh=True)",
        cause,
        lambda out: run(out, fresh=True),
    )


CASES: list[Case[Path]] = [
    Case(
        "but has 5 class_names; correct one of them",
        of_no_class,
        lambda out: (
            run(out, None, labelled_as(len(CLASSES) - 1)),
            run(out, SmallTeacher(), labelled_as(len(CLASSES) - 1, list(CLASSES))),
        ),
    ),
    Case(
        "repeat those to finish it, use another directory, or start over with --fresh (in Python:"
        " fresh=True)",
        unfinished,
        repeated_elsewhere_or_fresh,
    ),
    Case(
        "is of type OrderedDict, not torch.nn.Module; name a module, or a function that returns"
        " one",
        lambda out: run(out, load_object("collections:OrderedDict")),
        lambda out: (named(out, "SmallTeacher"), named(out, "function_that_returns_one")),
    ),
    to_be_checked(lambda out: run(out, with_weights(lambda rows: rows[1, 2].fill_(torch.nan)))),
    to_be_checked(
        lambda out: run(out, pictures=with_pixels(lambda each: each[1].fill_(torch.inf)))
    ),
    to_be_checked(lambda out: run(out, pictures=with_pixels(lambda each: each.mul_(255**2)))),
    Case(
        "take fewer views or another disk",
        lambda out: run(out, seeds=2**32 - 1),
        run,
    ),
    Case("has vanished; relabel again", open_what_is_gone, run),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)


def test_another_disk_has_room(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "tiny", mib=1) as disk:
        disk.fill()
        with pytest.raises(StoreFullError, match="take fewer views or another disk"):
            run(disk.path)
        run(tmp_path / "another")
