"""Advice in messages on files of images and of records: what causes each, and that it works."""

import shutil
from collections.abc import Callable
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
from labelcast_producers.formats.source import ImportOptions
from tests.factories.advice import Case, try_advice
from tests.producers.formats.damaged_files import (
    Damage,
    changed,
    read,
    slug,
    stray_file,
    try_the_good_file,
)
from tests.producers.formats.stored_files import edit, load
from tests.producers.formats.truth_checks import names
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.distillkit import EXACT, write_distillkit
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.producer_pixels import folder_sizes, write_image_folder
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.views import image_names

SMALL: dict[str, Any] = {"samples": 12, "epochs": 3, "classes": 12}
SPREAD = ImportOptions(recovery=Recovery.SPREAD, class_names=names(12))
ALONE = ImportOptions(recovery=Recovery.SPREAD)
LOGITS = ImportOptions(label_kind=LabelKind.LOGITS, class_names=names(12))
IMAGES = image_names(12, 12)
SIXTH = str(Path(IMAGES[5]).with_suffix(".tar"))


def fkd(path: Path) -> object:
    return write_fkd(path, **SMALL)


def full(path: Path) -> object:
    return write_fkd(path, **SMALL, label_type="full")


def hard(path: Path) -> object:
    return write_fkd(path, **SMALL, label_type="hard")


def ml_dr(path: Path) -> object:
    return write_apple_dr(path, **SMALL)


def in_view(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """Changes the third view of an image of ml-dr's."""
    return changed(lambda pair: change(pair[1][2]))


def shorter(view: dict[str, Any]) -> None:
    view["prob"] = tuple(each[:3] for each in view["prob"])


def crops_without(file: Path) -> None:
    coords, flip, label = load(file)
    torch.save([coords[1:], flip, label], file)


def flips_of(file: Path) -> None:
    coords, flip, label = load(file)
    torch.save([coords, flip.astype(np.int64) + 1, label], file)


def narrower(file: Path) -> None:
    coords, flip, label = load(file)
    torch.save([coords, flip, label[..., :-1]], file)


def halved(file: Path) -> None:
    coords, flip, label = load(file)
    torch.save([coords, flip, label.half()], file)


DAMAGES = [
    Damage("flips and 3 labels; label that image again", SIXTH, crops_without, fkd, SPREAD),
    Damage("a flip is neither 0 nor 1; label that image again", SIXTH, flips_of, fkd, SPREAD),
    Damage(
        "are fractions of it); label that image again",
        SIXTH,
        changed(lambda three: three[0].__setitem__((1, 2), 1.5)),
        fkd,
        SPREAD,
    ),
    Damage("of 12 classes; label that image again", SIXTH, narrower, full, SPREAD),
    Damage("are float32; write all in one type", SIXTH, halved, full, SPREAD),
    Damage(
        "and (3,); write it again",
        "6.pth.tar",
        in_view(lambda view: view.update(prob=(view["prob"][0], [0, 1, 2]))),
        ml_dr,
        SPREAD,
    ),
    Damage(
        "views keep different numbers of classes; write it again",
        "6.pth.tar",
        in_view(shorter),
        ml_dr,
        SPREAD,
    ),
    Damage(
        "or lie beyond ±32768; label that view again",
        "6.pth.tar",
        in_view(lambda view: view["prob"][0].__setitem__(1, 40000.0)),
        ml_dr,
        LOGITS,
    ),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=slug)
def test_the_good_file_in_its_place(damage: Damage, tmp_path: Path) -> None:
    try_the_good_file(damage, tmp_path)


def of(write: Callable[[Path], object], at: Path, options: ImportOptions = SPREAD) -> Import:
    write(at / "files")
    return read(at / "files", options)


def listed(at: Path, images: list[str]) -> ImportOptions:
    (at / "list.txt").write_text("".join(f"{name}\n" for name in images))
    return replace(SPREAD, image_list=at / "list.txt")


def few_directories(at: Path) -> object:
    """Three of the directories, of labels of five classes."""
    fkd(at / "whole")
    for name in IMAGES[:3]:
        shutil.copytree((at / "whole" / name).parent, (at / "files" / name).parent)
    return read(at / "files", ALONE)


def an_image_less(at: Path) -> object:
    fkd(at / "files")
    (at / "files" / SIXTH).rename(at / "sixth.tar")
    return read(at / "files", listed(at, IMAGES))


def listed_or_fetched(at: Path) -> object:
    read(at / "files", listed(at, [*IMAGES[:5], *IMAGES[6:]]))
    (at / "sixth.tar").rename(at / "files" / SIXTH)
    return read(at / "files", listed(at, IMAGES))


def two_of_one_image(at: Path) -> object:
    fkd(at / "files")
    file = at / "files" / SIXTH
    shutil.copy(file, file.with_name(f"{file.stem}.png.tar"))
    return read(at / "files", listed(at, IMAGES))


def only_one_left(at: Path) -> object:
    file = at / "files" / SIXTH
    file.with_name(f"{file.stem}.png.tar").unlink()
    return read(at / "files", listed(at, IMAGES))


def a_broken_link(at: Path) -> object:
    """A class directory on a disk that is not mounted."""
    fkd(at / "files")
    folder = (at / "files" / SIXTH).parent
    folder.rename(at / "elsewhere")
    folder.symlink_to(at / "disk")
    return read(at / "files", SPREAD)


def mended_or_moved_away(at: Path) -> object:
    (at / "elsewhere").rename(at / "disk")
    read(at / "files", SPREAD)
    link = (at / "files" / SIXTH).parent
    link.rename(at / link.name)
    return read(at / "files", SPREAD)


def of_another_name(at: Path) -> object:
    ml_dr(at)
    (at / "6.pth.tar").rename(at / "60.pth.tar")
    return read(at, SPREAD)


def named_after_it(at: Path) -> object:
    (at / "60.pth.tar").rename(at / "6.pth.tar")
    return read(at, SPREAD)


def with_folder(at: Path, view_size: int, **settings: Any) -> Import:
    """Labels of images that are there."""
    paths, _ = write_image_folder(at / "images", samples=12, classes=12)
    write_apple_dr(at / "files", **SMALL, sizes=folder_sizes(paths), **settings)
    return read(at / "files", replace(ALONE, images=at / "images", view_size=view_size))


def with_config(at: Path) -> object:
    torch.save({"num_classes": 12}, at / "files" / "config.pth.tar")
    return read(at / "files", ALONE)


def ids_as(at: Path, dtype: torch.dtype, classes: int) -> object:
    """Class IDs in a type of their own, the last class among them."""
    write_apple_dr(at, samples=2, epochs=2, classes=classes)

    def stored(pair: Any) -> None:
        for view in pair[1]:
            values, ids = view["prob"]
            ids[0] = classes - 1 if classes - 1 not in ids else ids[0]
            view["prob"] = (values, ids.to(dtype))

    for file in at.glob("*.pth.tar"):
        edit(file, stored)
    return read(at, replace(ALONE, class_names=names(classes)))


def as_probabilities(at: Path) -> object:
    write_sre2l(at / "files", samples=12, epochs=2, batch_size=4, classes=12)

    def softened(record: Any) -> None:
        record[5] = torch.softmax(record[5].float() / 4, dim=1)

    for file in (at / "files").rglob("*.tar"):
        edit(file, softened)
    return Import.open(at / "files").write_dense(at / "out")


def without_an_image(at: Path) -> object:
    """An image that goes after the files were scanned."""
    write_image_folder(at / "images", samples=12, classes=6)
    write_gvbsm(at / "files", samples=12, epochs=2, batch_size=4, classes=6)
    labels = Import.open(at / "files", ImportOptions(images=at / "images", view_size=224))
    (last,) = (at / "images").rglob("image_0011.png")
    last.rename(at / last.name)
    return labels.write_dense(at / "out")


def with_that_image(at: Path) -> object:
    (last,) = at.glob("*.png")
    last.rename(max((at / "images").iterdir()) / last.name)
    labels = Import.open(at / "files", ImportOptions(images=at / "images", view_size=224))
    return labels.write_dense(at / "out")


def tokens(at: Path, where: str) -> object:
    if not (at / "files").exists():
        write_distillkit(at / "files", EXACT, lengths=[4, 1, 6])
    labels = Import.open(at / "files", ImportOptions(recovery=Recovery.ZERO))
    labels.write_input_ids(at / where / "tokens.parquet")
    return labels


CASES: list[Case[Path]] = [
    Case(
        "is a link to what is not there; mend it, or move it away",
        a_broken_link,
        mended_or_moved_away,
    ),
    Case(
        "give the directory that holds the class directories, or all class names",
        few_directories,
        lambda at: (read(at / "whole", ALONE), read(at / "files", SPREAD)),
    ),
    Case(
        "fetch the missing ones, or list the images that were labelled",
        an_image_less,
        listed_or_fetched,
    ),
    Case("image_0005.png; remove one", two_of_one_image, only_one_left),
    stray_file(
        "notes.txt is no label of FKD's; move it away", "notes.txt", fkd, FkdImporter(), SPREAD
    ),
    stray_file(
        "notes.txt is no label of ml-dr's; move it away", "notes.txt", ml_dr, MlDrImporter(), SPREAD
    ),
    Case(
        "holds classes: leave out --label-kind",
        lambda at: of(hard, at, replace(SPREAD, label_kind=LabelKind.LOGITS)),
        lambda at: of(hard, at, SPREAD),
    ),
    Case(
        "but 3 class names were given; give the names that the teacher knew",
        lambda at: of(full, at, replace(ALONE, class_names=names(3))),
        lambda at: of(full, at, replace(ALONE, class_names=names(12))),
    ),
    Case(
        "is of image 6 by what is in it; name it after it",
        of_another_name,
        named_after_it,
    ),
    Case(
        "give --class-names or --images, or put config.pth.tar with num_classes beside the labels",
        lambda at: of(ml_dr, at, ALONE),
        lambda at: (of(ml_dr, at), with_folder(at, 224), with_config(at)),
    ),
    Case(
        "says that views have 48 pixels a side, not 32; give --view-size 48",
        lambda at: with_folder(at, 32, compress=True, view=48),
        lambda at: with_folder(at, 48, compress=True, view=48),
    ),
    Case(
        "write the files again with class IDs in float32 or as integers",
        lambda at: ids_as(at, torch.float16, 3000),
        lambda at: (ids_as(at, torch.float32, 3000), ids_as(at, torch.int16, 3000)),
    ),
    Case(
        "larger ones came out as others; store them as int32 or int64",
        lambda at: ids_as(at, torch.uint8, 300),
        lambda at: (ids_as(at, torch.int32, 300), ids_as(at, torch.int64, 300)),
    ),
    Case(
        "logits of k classes say nothing of the others: leave it out",
        lambda at: of(ml_dr, at, replace(LOGITS, recovery=Recovery.SPREAD)),
        lambda at: of(ml_dr, at, LOGITS),
    ),
    Case(
        "give --label-kind probabilities, with the --temperature of that softmax",
        as_probabilities,
        lambda at: Import.open(
            at / "files", ImportOptions(label_kind=LabelKind.PROBABILITIES, temperature=4.0)
        ).write_dense(at / "out"),
    ),
    Case(
        "has no sample 11, of which the files hold labels; give the images that were labelled",
        without_an_image,
        with_that_image,
    ),
    Case(
        "is among the imported files: give another path",
        lambda at: tokens(at, "files"),
        lambda at: tokens(at, "tokens"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
