"""Advice that files of several formats lead to: what causes each message, and that it works."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from labelcast.codec.topk import Recovery
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.factories.advice import Case, try_advice
from tests.producers.formats.damaged_files import Damage, changed, read, slug, try_the_good_file
from tests.producers.formats.truth_checks import names
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.producer_pixels import folder_sizes, write_image_folder
from tests.producers.formats.writers.tinyvit import write_tinyvit
from tests.producers.formats.writers.views import image_names

SMALL: dict[str, Any] = {"samples": 12, "epochs": 2, "classes": 12}
IMAGES = image_names(12, 12)
SPREAD = ImportOptions(recovery=Recovery.SPREAD, class_names=names(12))


def ml_dr(path: Path) -> object:
    return write_apple_dr(path, **SMALL)


def twice(pair: Any) -> None:
    """The second class of the third view becomes the first."""
    ids = pair[1][1]["prob"][1]
    ids[1] = ids[0]


def test_the_good_file_in_its_place(tmp_path: Path) -> None:
    says = "names one class twice; write the file again"
    try_the_good_file(Damage(says, "6.pth.tar", changed(twice), ml_dr, SPREAD), tmp_path)


def bare_keys(at: Path, *images: str) -> Import:
    """Of images by their names alone."""
    (at / "list.txt").write_text("".join(f"{name}\n" for name in images))
    keys = [Path(name).stem for name in IMAGES]
    write_tinyvit(at / "files", **SMALL, names=keys)
    named = ImportOptions(image_list=at / "list.txt", class_names=names(12))
    return read(at / "files", named)


def oblongs(at: Path) -> ImportOptions:
    """Images that are needed, as EDC's crops are fractions of the wrong side."""
    if not (at / "images").exists():
        paths, _ = write_image_folder(at / "images", samples=12, classes=12)
        sizes = folder_sizes(paths)
        write_edc(at / "files", **SMALL, batch_size=4, view=32, sizes=sizes)
    return ImportOptions(images=at / "images", view_size=32)


def damaged_image(at: Path) -> object:
    options = oblongs(at)
    image = min((at / "images").rglob("*.png"))
    (at / "good").write_bytes(image.read_bytes())
    image.write_bytes(image.read_bytes()[:10])
    return read(at / "files", options)


def fetched_again(at: Path) -> object:
    (at / "good").replace(min((at / "images").rglob("*.png")))
    return read(at / "files", oblongs(at))


def ids_of(at: Path, classes: int) -> Import:
    if not (at / "files").exists():
        ml_dr(at / "files")
    return read(at / "files", ImportOptions(recovery=Recovery.SPREAD, class_names=names(classes)))


def hard_labels(at: Path) -> Import:
    if not (at / "images").exists():
        paths, _ = write_image_folder(at / "images", samples=12, classes=12)
        listed = [path.relative_to(at / "images").as_posix() for path in paths]
        write_fkd(at / "files", **SMALL, label_type="hard", names=listed, sizes=folder_sizes(paths))
    return read(at / "files", ImportOptions(images=at / "images", view_size=32))


CASES: list[Case[Path]] = [
    Case(
        "may be one of several images; rename them",
        lambda at: bare_keys(at, *IMAGES, f"more/{Path(IMAGES[3]).name}"),
        lambda at: bare_keys(at, *IMAGES, f"more/new {Path(IMAGES[3]).name}"),
    ),
    Case("fetch it again", damaged_image, fetched_again),
    Case(
        "give --class-names with all that the teacher knew, or write the file again",
        lambda at: ids_of(at, 6),
        lambda at: ids_of(at, 12),
    ),
    Case(
        "labels of one class each say too little to verify an order; import them without a teacher",
        lambda at: hard_labels(at).verify(nn.Sequential(nn.Flatten(), nn.LazyLinear(12))),
        lambda at: hard_labels(at).write_label_set(at / "out"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
