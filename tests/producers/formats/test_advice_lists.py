"""Advice on files and lists that belong together: what causes each message, and that it works."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.per_image import FkdImporter, MlDrImporter
from labelcast_producers.formats.source import Importer, ImportOptions
from tests.factories.advice import Case, try_advice
from tests.producers.formats.batch_refusals import IMPORTERS, MIDDLE, NAMED, SMALL
from tests.producers.formats.damaged_files import (
    Damage,
    changed,
    read,
    slug,
    stray_file,
    try_the_good_file,
)
from tests.producers.formats.stored_files import edit
from tests.producers.formats.truth_checks import names
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.views import image_names

BY_EPOCH, BY_BATCH = "sampler_indices_epoch.json", "sampler_indices_batch.json"
PER_IMAGE: dict[str, Any] = {"samples": 12, "epochs": 3, "classes": 12}
SPREAD = ImportOptions(recovery=Recovery.SPREAD, class_names=names(12))
SIXTH = str(Path(image_names(12, 12)[5]).with_suffix(".tar"))


def sre2l(path: Path) -> object:
    return write_sre2l(path, **SMALL)


def lpld(path: Path) -> object:
    return write_lpld(path, **SMALL)


def lpqld(path: Path) -> object:
    return write_lpqld(path, **SMALL)


def fkd(path: Path) -> object:
    return write_fkd(path, **PER_IMAGE)


def ml_dr(path: Path) -> object:
    return write_apple_dr(path, **PER_IMAGE)


def relisted(change: Any) -> Any:
    """Harm a list of samples."""
    return lambda file: file.write_text(json.dumps(change(json.loads(file.read_text()))))


DAMAGES = [
    Damage(
        "one class twice; fetch the file again",
        "batch_2.tar",
        changed(lambda record: record[6].__setitem__((3, 0), record[6][3, 1])),
        lpqld,
        NAMED,
    ),
    Damage(
        "-1 is negative; fetch the file again",
        MIDDLE,
        changed(lambda record: record[6].__setitem__(2, -1)),
        lambda path: write_gvbsm(path, **SMALL),
    ),
    Damage(
        f"has no {BY_BATCH}, which names the samples and is written when labelling ends; put the"
        " one of this run there",
        BY_BATCH,
        Path.unlink,
        lpqld,
        NAMED,
    ),
    Damage(
        "names no samples of epoch 1, which is stored; it has 2 lists for 3: fetch the list of the"
        " same run",
        BY_EPOCH,
        relisted(lambda lists: {"0": lists["0"], "2": lists["2"]}),
        lambda path: write_lpld(path, **SMALL | {"epochs": 2.5}),
    ),
    Damage(
        "give the classes that the teacher has, or fetch the file again",
        "batch_2.tar",
        changed(lambda record: record[6].__setitem__((2, 0), 12)),
        lpqld,
        NAMED,
    ),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=slug)
def test_the_good_file_in_its_place(damage: Damage, tmp_path: Path) -> None:
    try_the_good_file(damage, tmp_path)


def after_the_softmax(at: Path) -> object:
    """One batch of probabilities among logits."""
    sre2l(at / "files")
    (at / "good").write_bytes((at / "files" / MIDDLE).read_bytes())
    edit(at / "files" / MIDDLE, lambda record: record.__setitem__(5, record[5].softmax(1)))
    return read(at / "files").write_dense(at / "out")


def before_the_softmax(at: Path) -> object:
    (at / "good").rename(at / "files" / MIDDLE)
    return read(at / "files").write_dense(at / "out")


def without_last_epoch(at: Path) -> Import:
    lpld(at / "files")
    (at / "files" / "epoch_3").rename(at / "epoch_3")
    return read(at / "files")


def fetched_or_taken_out(at: Path) -> None:
    listed = at / "files" / BY_EPOCH
    whole = listed.read_text()
    listed.write_text(json.dumps({key: ids for key, ids in json.loads(whole).items() if key < "3"}))
    read(at / "files")
    listed.write_text(whole)
    (at / "epoch_3").rename(at / "files" / "epoch_3")
    read(at / "files")


def one_epoch(at: Path) -> Import:
    sre2l(at / "files")
    return read(at / "files" / "epoch_0")


def of_two_runs(at: Path) -> Import:
    """Batches of G-VBSM, which name their samples, among those of SRe2L."""
    sre2l(at / "files")
    write_gvbsm(at / "others", **SMALL)
    (at / "files" / MIDDLE).rename(at / "mine")
    (at / "others" / MIDDLE).rename(at / "files" / MIDDLE)
    return read(at / "files")


def without_others(at: Path) -> Import:
    (at / "files" / MIDDLE).rename(at / "theirs")
    (at / "mine").rename(at / "files" / MIDDLE)
    return read(at / "files")


def probabilities(at: Path, recovery: Recovery | None) -> Import:
    """LPQLD's layout, with probabilities of the top classes in it."""
    if not (at / "files").exists():
        lpqld(at / "files")
        for file in (at / "files").glob("*.tar"):
            edit(file, lambda record: record.__setitem__(-2, record[-2].float().softmax(1) * 0.9))
    said = replace(NAMED, label_kind=LabelKind.PROBABILITIES, temperature=1.0, recovery=recovery)
    return read(at / "files", said)


def of_view(at: Path, view_size: int) -> Import:
    if not (at / "files").exists():
        lpqld(at / "files")
    return read(at / "files", replace(NAMED, view_size=view_size))


def of_classes(at: Path, count: int) -> Import:
    if not (at / "files").exists():
        sre2l(at / "files")
    return read(at / "files", ImportOptions(class_names=names(count)))


def with_notes(at: Path) -> Import:
    sre2l(at / "files")
    (at / "files" / "notes.txt").touch()
    return read(at / "files")


def notes_away(at: Path) -> Import:
    (at / "files" / "notes.txt").rename(at / "notes.txt")
    return read(at / "files")


def into(at: Path, out: str) -> object:
    if not (at / "files").exists():
        sre2l(at / "files")
    return read(at / "files").write_dense(at / out)


def into_deleted(at: Path) -> object:
    for file in (at / "out").iterdir():
        file.unlink()
    return into(at, "out")


def tokens(at: Path) -> Path:
    np.save(at / "labels.npy", np.random.default_rng(0).normal(0, 3, (4, 5)).astype("f4"))
    return at / "labels.npy"


def no_file_of_its_kind(
    says: str, written: Any, name: str, importer: Importer, *, others: int
) -> Case[Path]:
    """A file of another kind under a name of theirs."""

    def replaced(at: Path) -> object:
        written(at / "files")
        (at / "files" / name).rename(at / "good")
        torch.save({"epoch": 1}, at / "files" / name)
        return importer.open(at / "files", SPREAD)

    def moved_or_written(at: Path) -> None:
        (at / "files" / name).rename(at / "other")
        assert read(at / "files", SPREAD).facts.index.num_rows == others
        (at / "good").rename(at / "files" / name)
        read(at / "files", SPREAD)

    return Case(says, replaced, moved_or_written)


CASES: list[Case[Path]] = [
    Case("no part of sre2l: notes.txt; move them away", with_notes, notes_away),
    stray_file(
        "no known layout: notes.txt; move them away",
        "notes.txt",
        sre2l,
        IMPORTERS["sre2l"],
    ),
    Case(
        "which is not there; fetch its files, or take it out of that list",
        without_last_epoch,
        fetched_or_taken_out,
    ),
    Case(
        "others of these files are logits; fetch it again, or label it again before the softmax",
        after_the_softmax,
        before_the_softmax,
    ),
    Case(
        "is one epoch of batches: give the directory that the producer wrote, ",
        one_epoch,
        lambda at: read(at / "files"),
    ),
    Case(
        "all files must be of one run: move those of others away",
        of_two_runs,
        without_others,
    ),
    Case(
        "do not say what the other classes get: give --recovery spread, renormalise or zero",
        lambda at: probabilities(at, None),
        lambda at: [
            probabilities(at, each)
            for each in (Recovery.SPREAD, Recovery.RENORMALISE, Recovery.ZERO)
        ],
    ),
    Case(
        "edges of views of 256 pixels do not fit and cannot be recovered; check --view-size",
        lambda at: of_view(at, 256),
        lambda at: of_view(at, 224),
    ),
    Case(
        "the images or --class-names 11; give those of the teacher",
        lambda at: of_classes(at, 11),
        lambda at: of_classes(at, 12),
    ),
    Case(
        "holds a finished result (labels.json); give another --out, or delete it first",
        lambda at: (into(at, "out"), into(at, "out")),
        lambda at: (into(at, "another"), into_deleted(at)),
    ),
    Case(
        "hold no tokens; leave --input-ids out",
        lambda at: read(tokens(at)).write_input_ids(at / "tokens.parquet"),
        lambda at: read(tokens(at)).write_label_set(at / "out"),
    ),
    no_file_of_its_kind(
        "as FKD writes it; label that image again, or move the file away",
        fkd,
        SIXTH,
        FkdImporter(),
        others=33,
    ),
    no_file_of_its_kind(
        "as ml-dr writes it; write it again, or move it away",
        ml_dr,
        "6.pth.tar",
        MlDrImporter(),
        others=33,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
