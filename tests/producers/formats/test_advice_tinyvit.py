"""Advice in messages on TinyViT's files: what causes each, and that it works."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from labelcast.errors import LabelFileError
from labelcast_producers.formats.source import ImportOptions
from labelcast_producers.formats.tinyvit import TinyVitImporter
from tests.factories.advice import Case, try_advice
from tests.producers.formats.damaged_files import Damage, read, slug, stray_file, try_the_good_file
from tests.producers.formats.truth_checks import names
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.producer_pixels import write_image_folder
from tests.producers.formats.writers.tinyvit import write_tinyvit

SMALL: dict[str, Any] = {"samples": 12, "epochs": 3, "classes": 12}
NAMED = ImportOptions(class_names=names(12))
EPOCH = "logits_top5_epoch1"


def tinyvit(path: Path) -> object:
    return write_tinyvit(path, **SMALL)


DAMAGES = [
    Damage(
        "line 6: a key is empty; fetch it again",
        f"{EPOCH}/rank1-keys.txt",
        lambda file: file.write_text("".join([*file.read_text().splitlines(True)[:-1], " \n"])),
        tinyvit,
        NAMED,
    ),
    Damage(
        "lacks rank1-values.bin; fetch it", f"{EPOCH}/rank1-values.bin", Path.unlink, tinyvit, NAMED
    ),
    Damage(
        "lacks rank0-keys.txt; fetch it", f"{EPOCH}/rank0-keys.txt", Path.unlink, tinyvit, NAMED
    ),
    Damage(
        "need 144; fetch both files of that rank again, or write the epoch again",
        f"{EPOCH}/rank1-values.bin",
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        tinyvit,
        NAMED,
    ),
    Damage(
        "invalid start byte; fetch it again",
        f"{EPOCH}/rank1-keys.txt",
        lambda file: file.write_bytes(b"\xff\xfe\n" * 6),
        tinyvit,
        NAMED,
    ),
]


def test_links_to_what_is_not_there(tmp_path: Path) -> None:
    for name in ("rank1-values.bin", "rank0-keys.txt"):
        tinyvit(tmp_path / "files")
        broken_link(tmp_path / "files" / EPOCH / name)
        with pytest.raises(LabelFileError, match=f"lacks {name}; fetch it"):
            read(tmp_path / "files", NAMED)
        (tmp_path / "files" / EPOCH / name).unlink()


@pytest.mark.parametrize("damage", DAMAGES, ids=slug)
def test_the_good_file_in_its_place(damage: Damage, tmp_path: Path) -> None:
    try_the_good_file(damage, tmp_path)


def broken_link(file: Path) -> None:
    """A file on a disk that is not mounted."""
    file.unlink()
    file.symlink_to(file.parent / "elsewhere")


def two_widths(at: Path) -> object:
    tinyvit(at / "files")
    write_tinyvit(at / "files", **SMALL, k=3)
    return read(at / "files", NAMED)


def apart(at: Path) -> object:
    (at / "narrow").mkdir()
    for folder in (at / "files").glob("logits_top3_*"):
        folder.rename(at / "narrow" / folder.name)
    return read(at / "files", NAMED), read(at / "narrow", NAMED)


def an_epoch_less(at: Path) -> object:
    tinyvit(at / "files")
    (at / "files" / EPOCH).rename(at / EPOCH)
    return read(at / "files", NAMED)


def epochs_away_or_fetched(at: Path) -> object:
    later = at / "files" / "logits_top5_epoch2"
    later.rename(at / later.name)
    read(at / "files", NAMED)
    (at / later.name).rename(later)
    (at / EPOCH).rename(at / "files" / EPOCH)
    return read(at / "files", NAMED)


def a_rank_less(at: Path) -> object:
    tinyvit(at / "files")
    (at / "rank").mkdir()
    for file in (at / "files" / EPOCH).glob("rank1-*"):
        file.rename(at / "rank" / file.name)
    return read(at / "files", NAMED)


def rank_fetched(at: Path) -> object:
    for file in (at / "rank").iterdir():
        file.rename(at / "files" / EPOCH / file.name)
    return read(at / "files", NAMED)


def without_keys(at: Path) -> object:
    tinyvit(at)
    for file in at.glob("*/rank*"):
        file.write_bytes(b"")
    return read(at, NAMED)


def cut_after_the_scan(at: Path) -> object:
    """The last record is gone by the time at which it is read."""
    tinyvit(at / "files")
    source = read(at / "files", NAMED).source
    for epoch in (at / "files").iterdir():
        for keys in epoch.glob("*-keys.txt"):
            values = keys.with_name(keys.name.replace("keys.txt", "values.bin"))
            values.write_bytes(values.read_bytes()[:-1])
    return [source.read(part) for part in source.parts]


def imported_again(at: Path) -> object:
    tinyvit(at / "files")
    return read(at / "files", NAMED)


def with_images(at: Path, count: int) -> object:
    """Keys that are places in the data set."""
    numbers = [str(number) for number in range(12)]
    write_tinyvit(at / "files", **SMALL, names=numbers)
    images = at / f"{count}-images"
    write_image_folder(images, samples=count, classes=count)
    return read(at / "files", replace(NAMED, images=images))


def of_classes(at: Path, options: ImportOptions) -> object:
    tinyvit(at / "files")
    return read(at / "files", options)


def with_folder(at: Path) -> ImportOptions:
    write_image_folder(at / "images", samples=12, classes=12)
    return ImportOptions(images=at / "images")


def beside_others(at: Path) -> object:
    """Files of two formats in one directory."""
    tinyvit(at / "files")
    write_apple_dr(at / "files", **SMALL)
    return read(at / "files", NAMED)


def others_away(at: Path) -> object:
    for file in (at / "files").glob("*.pth.tar"):
        file.rename(at / file.name)
    return read(at / "files", NAMED, "tinyvit")


CASES: list[Case[Path]] = [
    Case("epochs keep [3, 5] classes; import them apart", two_widths, apart),
    Case("fetch it, or move the later ones away", an_epoch_less, epochs_away_or_fetched),
    Case("logits_top5_epoch0 has; fetch it", a_rank_less, rank_fetched),
    Case("holds no keys; write the labels again", without_keys, lambda at: of_classes(at, NAMED)),
    Case(
        "has changed since it was scanned; import it again",
        cut_after_the_scan,
        imported_again,
    ),
    Case(
        "how many classes there are; give --class-names or --images",
        lambda at: of_classes(at, ImportOptions()),
        lambda at: (of_classes(at, NAMED), of_classes(at, with_folder(at))),
    ),
    Case(
        "key 11 is beyond the 10 images; give those that were labelled",
        lambda at: with_images(at, 10),
        lambda at: with_images(at, 12),
    ),
    Case(
        "may be ml-dr, tinyvit; say which with --format, and move the files of others away",
        beside_others,
        others_away,
    ),
    stray_file(
        "notes.txt is no file of TinyViT's; move it away",
        "notes.txt",
        tinyvit,
        TinyVitImporter(),
        NAMED,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
