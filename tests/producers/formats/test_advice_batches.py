"""Advice in messages on files of mixed batches: what causes each, and that it works."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.codec.topk import Recovery
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.factories.advice import Case, try_advice
from tests.producers.formats.batch_refusals import (
    FIRST,
    MIDDLE,
    NAMED,
    SMALL,
    UNTOLD,
    WARM,
    opened,
)
from tests.producers.formats.damaged_files import Damage, changed, read, slug, try_the_good_file
from tests.producers.formats.stored_files import put
from tests.producers.formats.writers.batches import Batch
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l

COORDS, FLIP, MIX, LAM, BOX, LABELS = range(6)
ORDERS = "sampler_indices_epoch.json"


def replayable(batch: Batch) -> list[list[torch.Tensor]]:
    """One RandAugment layer as LPQLD collates it."""
    count = len(batch.sample_ids)
    return [
        [
            torch.full((count,), 3),
            torch.full((count,), 0.1).half(),
            torch.full((count,), 1.0).half(),
        ]
    ]


def sre2l(path: Path) -> object:
    return write_sre2l(path, **SMALL)


def hald(path: Path) -> object:
    return write_hald(path, **SMALL)


def lpld(path: Path) -> object:
    return write_lpld(path, **SMALL)


def with_cutout(path: Path) -> object:
    return write_lpld(path, **SMALL, cutout=True)


def with_rand_augment(path: Path) -> object:
    return write_lpqld(path, **SMALL, parameters=replayable)


def three_views(record: Any) -> None:
    for position in (COORDS, FLIP, LABELS):
        record[position] = record[position][:3].clone()
    record[MIX] = torch.tensor([2, 0, 1])


DAMAGES = [
    Damage(
        "fetch the file again, or label that batch again",
        MIDDLE,
        changed(lambda record: record[COORDS].__setitem__((3, 2), 1.5)),
        sre2l,
    ),
    Damage(
        "which is no box; label that batch again",
        MIDDLE,
        changed(put(BOX, [np.int64(edge) for edge in (9, 0, 5, 3)])),
        sre2l,
    ),
    Damage(
        "colours go from 0 to 255; label that batch again",
        MIDDLE,
        changed(lambda record: record[FLIP].__setitem__((2, 5), 256.0)),
        with_cutout,
    ),
    Damage(
        "none of timm's 15 operations; label that batch again",
        "batch_0.tar",
        changed(lambda record: record[2][0][0].__setitem__(1, 15)),
        with_rand_augment,
        NAMED,
    ),
    Damage(
        "they hold NaN or infinity; label that batch again",
        MIDDLE,
        changed(lambda record: record[LABELS].__setitem__((2, 5), torch.nan)),
        sre2l,
    ),
    Damage(
        "all must be of one teacher: fetch it again",
        MIDDLE,
        changed(put(LABELS, torch.zeros(4, 11).half())),
        sre2l,
    ),
    Damage("write all in one type", MIDDLE, changed(put(LABELS, torch.zeros(4, 12))), sre2l),
    Damage("batches of this set have 4 there; fetch it again", MIDDLE, changed(three_views), sre2l),
    Damage("fetch or write it again", MIDDLE, changed(lambda record: record.pop()), sre2l),
    Damage(
        "not a list of batches; fetch or write it again",
        "epoch_1.tar",
        lambda file: torch.save({"epoch": 1}, file),
        hald,
        WARM,
    ),
    Damage(
        "begins no list of sample IDs, or one twice; fetch or write it again",
        ORDERS,
        lambda file: file.write_text('{"0": [1, 2,'),
        lpld,
    ),
    Damage("though later ones are there; fetch what is missing", MIDDLE, Path.unlink, sre2l),
    Damage("though later ones are there; fetch what is missing", FIRST, Path.unlink, sre2l),
    Damage("fetch what is missing", "epoch_1.tar", Path.unlink, hald, WARM),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=slug)
def test_the_good_file_in_its_place(damage: Damage, tmp_path: Path) -> None:
    try_the_good_file(damage, tmp_path)


def large(at: Path, batch_size: int) -> Import:
    """LPQLD numbers the partners of a batch in uint8."""
    few: dict[str, Any] = {"samples": 300, "epochs": 1, "classes": 12, "k": 1, "view": 64}
    path = at / str(batch_size)
    write_lpqld(path, **few, batch_size=batch_size)
    return read(path, ImportOptions(class_names=NAMED.class_names, view_size=64))


def listed(at: Path, count: int, num_samples: int | None = None) -> ImportOptions:
    """Options that name so many images."""
    (at / "list.txt").write_text("".join(f"a/{number}.png\n" for number in range(count)))
    return ImportOptions(image_list=at / "list.txt", num_samples=num_samples)


def with_views(at: Path, view: int, options: ImportOptions) -> Import:
    if not (at / "files").exists():
        write_sre2l(at / "files", **SMALL | {"epochs": 10}, view=view)
    return read(at / "files", options)


def small_images(at: Path, view_size: int | None) -> Import:
    sizes = [(64, 64)] * 20
    write_sre2l(at, **SMALL | {"samples": 20}, mix="none", sizes=sizes)
    return read(at, ImportOptions(view_size=view_size))


def of(write: Callable[[Path], object], at: Path, options: ImportOptions = UNTOLD) -> Import:
    write(at / "files")
    return read(at / "files", options)


def gvbsm(path: Path) -> object:
    return write_gvbsm(path, **SMALL)


def without_epochs(at: Path) -> Import:
    """All batches of an epoch in one directory, as G-VBSM does not leave them."""
    gvbsm(at / "written")
    (at / "files").mkdir()
    for file in (at / "written" / "epoch_0").iterdir():
        file.rename(at / "files" / file.name)
    return read(at / "files")


def into_epochs(at: Path) -> Import:
    (at / "above" / "epoch_0").mkdir(parents=True)
    for file in (at / "files").iterdir():
        file.rename(at / "above" / "epoch_0" / file.name)
    return read(at / "above")


def with_a_list(at: Path) -> object:
    gvbsm(at / "files")
    (at / "files" / ORDERS).write_text('{"0": [0]}')
    return opened(at / "files", "gvbsm")


def without_the_list(at: Path) -> object:
    (at / "files" / ORDERS).rename(at / ORDERS)
    return opened(at / "files", "gvbsm")


def among_the_files(at: Path) -> object:
    return of(sre2l, at).write_dense(at / "files" / "out")


CASES: list[Case[Path]] = [
    Case(
        "label again with smaller batches",
        lambda at: large(at, 300),
        lambda at: large(at, 100),
    ),
    Case(
        "give the producer's view size with --view-size",
        lambda at: with_views(at, 256, UNTOLD),
        lambda at: with_views(at, 256, ImportOptions(view_size=256)),
    ),
    Case(
        "give the producer's view size, which may be --view-size 64",
        lambda at: with_views(at, 64, UNTOLD),
        lambda at: with_views(at, 64, ImportOptions(view_size=64)),
    ),
    Case(
        "give --view-size 64 if views are as large as the images, 224 if they were resized to that",
        lambda at: small_images(at, None),
        lambda at: (small_images(at, 64), small_images(at, 224)),
    ),
    Case(
        "which --recovery spread means nothing for; leave it out",
        lambda at: of(sre2l, at, ImportOptions(recovery=Recovery.SPREAD)),
        lambda at: of(sre2l, at),
    ),
    Case(
        "do not say T; give it with --temperature",
        lambda at: of(hald, at),
        lambda at: of(hald, at, ImportOptions(temperature=20.0)),
    ),
    Case(
        "count 10; leave --samples out",
        lambda at: of(sre2l, at, listed(at, 10, num_samples=12)),
        lambda at: of(sre2l, at, listed(at, 10)),
    ),
    Case(
        "count 5, from 0 on; give the images that were labelled",
        lambda at: of(gvbsm, at, listed(at, 5)),
        lambda at: of(gvbsm, at, listed(at, 10)),
    ),
    Case(
        "put them in directories epoch_0, epoch_1 and so on, and give the directory above",
        without_epochs,
        into_epochs,
    ),
    Case(
        "names samples that the batches name themselves; move it away",
        with_a_list,
        without_the_list,
    ),
    Case(
        "is not gvbsm; leave --format out",
        lambda at: (sre2l(at), opened(at, "gvbsm")),
        opened,
    ),
    Case(
        "is not gvbsm but sre2l; leave --format out",
        lambda at: (sre2l(at), read(at, format_name="gvbsm")),
        read,
    ),
    Case(
        "'sre2' is no format; use auto or",
        lambda at: (sre2l(at), read(at, format_name="sre2")),
        lambda at: (read(at, format_name="auto"), read(at, format_name="sre2l")),
    ),
    Case(
        "is among the files that are imported; give another --out",
        among_the_files,
        lambda at: read(at / "files").write_dense(at / "out"),
    ),
    Case(
        "labels of lpqld are not made dense; write a label set",
        lambda at: of(lambda path: write_lpqld(path, **SMALL), at, NAMED).write_dense(at / "out"),
        lambda at: read(at / "files", NAMED).write_label_set(at / "out"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sre2l(tmp_path / "files")
    labels = read(tmp_path / "files")
    whole = shutil.disk_usage(tmp_path)
    # No test can fill a disk: the system says that this one is full.
    full = {str(tmp_path / "full"): whole._replace(free=10)}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full.get(str(path), whole))
    case = Case[Path](
        "take another disk, or encode on the fly with --codec",
        lambda at: labels.write_dense(at / "full"),
        lambda at: (
            labels.write_dense(at / "another"),
            labels.write_label_set(at / "encoded", codec="topk:2"),
        ),
    )
    try_advice(case, tmp_path)
