"""Files that are to be fetched, written or labelled again, and what it takes to try that."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from labelcast.errors import LabelcastError
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import Importer, ImportOptions
from tests.factories.advice import Case
from tests.producers.formats.stored_files import edit
from tests.producers.formats.truth_checks import one_line

UNTOLD = ImportOptions()


@dataclass(frozen=True)
class Damage:
    """A file that is to be fetched, written or labelled again.

    Attributes:
        says: the advice, word for word.
        file: which is damaged.
        harm: damages it.
        write: writes good files.
        options: that they are read with.
    """

    says: str
    file: str
    harm: Callable[[Path], object]
    write: Callable[[Path], object]
    options: ImportOptions = UNTOLD


def read(path: Path, options: ImportOptions = UNTOLD, format_name: str = "auto") -> Import:
    """Read every label, as writing them anywhere does."""
    labels = Import.open(path, options, format_name=format_name)
    for part in labels.source.parts:
        labels.source.read(part)
    return labels


def try_the_good_file(damage: Damage, place: Path) -> None:
    """Damage a file, look for the advice, and put the good file back."""
    damage.write(place)
    file = place / damage.file
    good = file.read_bytes()
    damage.harm(file)
    with pytest.raises(LabelcastError) as raised:
        read(place, damage.options)
    one_line(raised.value, damage.says)
    file.write_bytes(good)
    assert read(place, damage.options).facts.index.num_rows > 0


def stray_file(
    says: str,
    name: str,
    write: Callable[[Path], object],
    importer: Importer,
    options: ImportOptions = UNTOLD,
) -> Case[Path]:
    """A file among others that is none of theirs, as who has them not recognised meets it."""

    def put(place: Path) -> object:
        write(place / "files")
        (place / "files" / name).touch()
        return importer.open(place / "files", options)

    def move_away(place: Path) -> object:
        (place / "files" / name).rename(place / name)
        return importer.open(place / "files", options)

    return Case(says, put, move_away)


def changed(change: Callable[[Any], object]) -> Callable[[Path], object]:
    """Harm that changes what a file holds."""
    return lambda file: edit(file, change)


def slug(case: Damage | Case[Path]) -> str:
    """The name of a test."""
    return re.sub(r"\W+", "-", case.says)[:50]
