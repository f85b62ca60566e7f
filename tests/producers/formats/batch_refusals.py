"""Small files of mixed batches, and what it takes to say that they were refused."""

from pathlib import Path
from typing import Any

import pytest

from labelcast.errors import LabelcastError, LabelFileError
from labelcast_producers.formats.batches import BATCH_IMPORTERS, BatchImporter
from labelcast_producers.formats.source import ImportOptions, Source
from tests.producers.formats.truth_checks import one_line

SMALL: dict[str, Any] = {"samples": 10, "epochs": 3, "batch_size": 4, "classes": 12}
FIRST, MIDDLE = "epoch_0/batch_0.tar", "epoch_1/batch_1.tar"
UNTOLD = ImportOptions()
NAMED = ImportOptions(class_names=tuple("abcdefghijkl"))
WARM = ImportOptions(temperature=20.0)
IMPORTERS: dict[str, BatchImporter] = {each.name: each for each in BATCH_IMPORTERS}


def opened(path: Path, name: str = "", options: ImportOptions = UNTOLD) -> Source:
    if name:
        return IMPORTERS[name].open(path, options)
    for importer in BATCH_IMPORTERS:
        if importer.detect(path) is not None:
            return importer.open(path, options)
    raise LookupError(f"no importer for {path}")


def refusal(
    path: Path,
    *parts: str,
    name: str = "",
    options: ImportOptions = UNTOLD,
    error: type[LabelcastError] = LabelFileError,
) -> str:
    """The message of a refusal, which must hold every part."""
    with pytest.raises(error) as caught:
        opened(path, name, options)
    assert type(caught.value) is error
    one_line(caught.value, *parts)
    return caught.value.message
