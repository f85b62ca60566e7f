"""Advice in messages on distilled sets and their stages: what causes each, and that it works."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from labelcast.codec import LabelKind
from labelcast_producers.formats.distilled.files import DistilledImporter
from labelcast_producers.formats.distilled.pdd import PddImporter
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.factories.advice import Case, try_advice
from tests.producers.formats.damaged_files import (
    UNTOLD,
    Damage,
    changed,
    read,
    slug,
    stray_file,
    try_the_good_file,
)
from tests.producers.formats.truth_checks import names
from tests.producers.formats.writers.distilled_sets import write_mtt, write_pdd

MTT: dict[str, Any] = {"samples": 8, "classes": 4}
THIRD, THIRD_FILE = "interval2_ipc2", "interval_2_data.pt"


def mtt(path: Path) -> object:
    return write_mtt(path, **MTT)


def hard(path: Path) -> object:
    return write_mtt(path, **MTT, hard=True)


def pdd(path: Path) -> object:
    return write_pdd(path, classes=3)


def flat(path: Path) -> object:
    return write_pdd(path, classes=3, layout="flat")


def saved(content: object) -> Callable[[Path], object]:
    """Harm that replaces all that a file holds."""
    return lambda file: torch.save(content, file)


def shorter(file: Path) -> None:
    torch.save(torch.load(file)[:-1], file)


def swapped(file: Path) -> None:
    values = torch.load(file)
    values[[4, 7]] = values[[7, 4]]
    torch.save(values, file)


DAMAGES = [
    Damage("has images_best.pt but no labels_best.pt; fetch it",
           "labels_best.pt", Path.unlink, mtt),
    Damage("labels_best.pt is missing; fetch it", f"{THIRD}/labels_best.pt", Path.unlink, pdd),
    Damage("labels, but there are (8,) images; take both from one run",
           "labels_best.pt", shorter, mtt),
    Damage("labels, but there are (7,) images; take both from one run",
           "images_best.pt", shorter, mtt),
    Damage("lacks stage 2 of 0 to 4; fetch it, or move the later ones away",
           THIRD_FILE, Path.unlink, flat),
    Damage("images_best.pt is missing; fetch it", f"{THIRD}/images_best.pt", Path.unlink, pdd),
    Damage("write stages that keep all earlier samples as they are",
           f"{THIRD}/images_best.pt", swapped, pdd),
    Damage("as many labels as images and one learning rate; write it again",
           THIRD_FILE, changed(lambda stage: stage.update(labels=stage["labels"][:-1])), flat),
    Damage("interval_2_data.pt: the learning rate is inf; write it again",
           THIRD_FILE, changed(lambda stage: stage.update(syn_lr=torch.tensor(torch.inf))), flat),
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=slug)
def test_the_good_file_in_its_place(damage: Damage, tmp_path: Path) -> None:
    try_the_good_file(damage, tmp_path)


def with_labels(at: Path, stored: object) -> Import:
    mtt(at)
    torch.save(stored, at / "labels_best.pt")
    return read(at)


def of(write: Callable[[Path], object], at: Path, options: ImportOptions = UNTOLD) -> Import:
    write(at / "files")
    return read(at / "files", options)


def only_iterations(at: Path) -> Import:
    mtt(at)
    for file in at.glob("*_best.pt"):
        file.unlink()
    return read(at)


def the_last_is_best(at: Path) -> Import:
    for name in ("labels", "images"):
        shutil.copy(at / f"{name}_500.pt", at / f"{name}_best.pt")
    return read(at)


def few_classes(at: Path, options: ImportOptions) -> Import:
    hard(at)
    torch.save(torch.tensor([0, 0, 1, 1, 3, 3, 3, 3]), at / "labels_best.pt")
    return read(at, options)


def with_rate(
    at: Path, rate: torch.Tensor, write: Callable[[Path], object], folder: str = ""
) -> Import:
    write(at / "files")
    torch.save(rate, at / "files" / folder / "syn_lr_best.pt")
    return read(at / "files")


def without_rate(at: Path, folder: str = "") -> Import:
    (at / "files" / folder / "syn_lr_best.pt").rename(at / "rate.pt")
    return read(at / "files")


def stage_twice(at: Path) -> Import:
    pdd(at / "files")
    shutil.copytree(at / "files" / THIRD, at / "files" / "interval2_again")
    return read(at / "files")


def either_away(at: Path) -> None:
    for number, name in enumerate((THIRD, "interval2_again")):
        away = at / str(number)
        (at / "files" / name).rename(away)
        read(at / "files")
        away.rename(at / "files" / name)


def without_third(at: Path) -> Import:
    pdd(at / "files")
    (at / "files" / THIRD).rename(at / THIRD)
    return read(at / "files")


def later_away(at: Path) -> Import:
    for number in (3, 4):
        name = f"interval{number}_ipc2"
        (at / "files" / name).rename(at / name)
    return read(at / "files")


def changed_since(at: Path, write: Callable[[Path], object], file: str) -> None:
    write(at / "files")
    source = Import.open(at / "files").source
    shorter(at / "files" / file)
    for part in source.parts:
        source.read(part)


CHANGED = "has changed since it was scanned; import it again"

CASES: list[Case[Path]] = [
    Case(
        "holds list, where labels are integers (N,) or floats (N, C); save them so",
        lambda at: with_labels(at, [torch.zeros(4)] * 8),
        lambda at: (
            with_labels(at, torch.randn(8, 4)),
            with_labels(at, torch.tensor([0, 1, 2, 3] * 2)),
        ),
    ),
    Case(
        "int64 of shape (8, 4), where labels are integers (N,) or floats (N, C); save them so",
        lambda at: with_labels(at, torch.eye(4).long().repeat(2, 1)),
        lambda at: with_labels(at, torch.eye(4).repeat(2, 1)),
    ),
    Case(
        "does not tell how many there are; give --class-names",
        lambda at: few_classes(at, UNTOLD),
        lambda at: few_classes(at, ImportOptions(class_names=names(6))),
    ),
    Case(
        "or copy labels_500.pt to labels_best.pt and the images of that iteration to"
        " images_best.pt",
        only_iterations,
        the_last_is_best,
    ),
    stray_file(
        "train.log is no part of a distilled set; move it away",
        "train.log",
        mtt,
        DistilledImporter(),
    ),
    stray_file("train.log is no stage of PDD's; move it away", "train.log", pdd, PddImporter()),
    Case(
        "are its own images; leave --images and --image-list out",
        lambda at: of(mtt, at, ImportOptions(images=at)),
        lambda at: of(mtt, at),
    ),
    Case(
        "are its own images; leave --images and --image-list out",
        lambda at: of(pdd, at, ImportOptions(image_list=at / "list.txt")),
        lambda at: of(pdd, at),
    ),
    Case(
        "holds classes: leave out --label-kind",
        lambda at: of(hard, at, ImportOptions(label_kind=LabelKind.LOGITS)),
        lambda at: of(hard, at),
    ),
    Case(
        "syn_lr_best.pt does not hold one learning rate; move it away",
        lambda at: with_rate(at, torch.zeros(2), mtt),
        without_rate,
    ),
    Case(
        "syn_lr_best.pt: the learning rate is nan; move it away",
        lambda at: with_rate(at, torch.tensor(torch.nan), pdd, THIRD),
        lambda at: without_rate(at, THIRD),
    ),
    Case("has stage 2 twice; move one away", stage_twice, either_away),
    Case(
        "lacks stage 2 of 0 to 4; fetch it, or move the later ones away",
        without_third,
        later_away,
    ),
    Case(
        CHANGED,
        lambda at: changed_since(at, mtt, "labels_best.pt"),
        lambda at: of(mtt, at),
    ),
    Case(
        CHANGED,
        lambda at: changed_since(at, pdd, f"{THIRD}/labels_best.pt"),
        lambda at: of(pdd, at),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
