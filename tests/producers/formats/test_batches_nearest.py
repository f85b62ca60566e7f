"""Files of mixed batches that are nearly what is read: the reason is said, and its advice works."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.errors import LabelFileError
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.recognition import recognise
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.truth_checks import one_line
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l

SMALL: dict[str, Any] = {"samples": 6, "epochs": 2, "batch_size": 3, "classes": 5}
WRITERS: dict[str, Callable[..., Any]] = {
    "sre2l": write_sre2l,
    "lpld": write_lpld,
    "lpqld": write_lpqld,
    "gvbsm": write_gvbsm,
    "edc": write_edc,
    "hald": write_hald,
}


def refused(path: Path, name: str, *parts: str) -> None:
    for format_name in ("auto", name):
        with pytest.raises(LabelFileError) as raised:
            recognise(path, format_name)
        one_line(raised.value, *parts)


@pytest.mark.parametrize("name", WRITERS)
def test_a_directory_too_high_or_too_low(name: str, tmp_path: Path) -> None:
    right = tmp_path / "save" / "run" / "labels"
    WRITERS[name](right, **SMALL)
    assert recognise(right)[0].name == name
    refused(tmp_path / "save", name, f"{name} in {right}: give that")
    for file in right.rglob("*.tar"):
        refused(file, name, "is one file of batches: give the directory", f"wrote, {right}")
    for epoch in right.glob("epoch_*/"):
        refused(epoch, name, "is one epoch of batches: give the directory", f"wrote, {right}")


def test_a_directory_of_lpqlds_may_have_any_name(tmp_path: Path) -> None:
    write_lpqld(tmp_path / "epoch_0", **SMALL)
    assert recognise(tmp_path / "epoch_0")[0].name == "lpqld"


def test_files_of_others_may_have_such_names(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "epoch_0.tar")
    with pytest.raises(LabelFileError) as raised:
        recognise(tmp_path / "epoch_0.tar")
    assert "batches" not in raised.value.message


@pytest.mark.parametrize("name", WRITERS)
def test_files_of_older_torch(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path, **SMALL)
    contents = {file: torch.load(file, weights_only=False) for file in tmp_path.rglob("*.tar")}
    for file, content in contents.items():
        torch.save(content, file, _use_new_zipfile_serialization=False)
    refused(tmp_path, name, "before 1.6", "save it again with a current torch")
    for file, content in contents.items():
        torch.save(content, file)
    assert recognise(tmp_path)[0].name == name


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(
    ("spoil", "advice", "mend"),
    [
        (tuple, "tuples as lists", list),
        (
            lambda record: [*record[:5], record[5].double(), *record[6:]],
            "float64 labels as float32",
            lambda record: [*record[:5], record[5].float(), *record[6:]],
        ),
    ],
)
def test_batches_saved_otherwise(
    name: str,
    spoil: Callable[[Any], Any],
    advice: str,
    mend: Callable[[Any], Any],
    tmp_path: Path,
) -> None:
    WRITERS[name](tmp_path, **SMALL)

    def again(change: Callable[[Any], Any]) -> None:
        for file in tmp_path.rglob("*.tar"):
            content = torch.load(file, weights_only=False)
            changed = [change(each) for each in content] if name == "hald" else change(content)
            torch.save(changed, file)

    again(spoil)
    refused(tmp_path, name, advice)
    again(mend)
    assert recognise(tmp_path)[0].name == name


def cast(record: list[Any], types: dict[str, str]) -> list[Any]:
    """A record with coords and labels of these types."""
    (labels,) = (at for at, item in enumerate(record) if at and is_floats(item))
    cast = list(record)
    for what, at in (("coords", 0), ("labels", labels)):
        if what in types:
            cast[at] = record[at].to(getattr(torch, types[what]))
    return cast


def is_floats(item: object) -> bool:
    return isinstance(item, torch.Tensor) and item.is_floating_point() and item.ndim == 2


def as_double(record: list[Any]) -> list[Any]:
    return cast(record, {"coords": "float64", "labels": "float64"})


def as_arrays(record: list[Any]) -> list[Any]:
    return [item.numpy() if isinstance(item, torch.Tensor) else item for item in record]


def as_tensors(record: list[Any]) -> list[Any]:
    return [torch.from_numpy(item) if isinstance(item, np.ndarray) else item for item in record]


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("at", [0, 1, -1])
@pytest.mark.parametrize(
    ("spoil", "advice", "mend"),
    [
        (tuple, r"save it again, tuples as lists$", list),
        (as_arrays, r"save it again, numpy arrays as tensors \(torch.from_numpy\)$", as_tensors),
        (as_double, r"save it again, float64 coords as .*, float64 labels as .*", None),
    ],
)
def test_one_file_saved_otherwise(
    name: str, at: int, spoil: Any, advice: str, mend: Any, tmp_path: Path
) -> None:
    """The reason is that for a whole set of such files, and the types are those of the others."""
    WRITERS[name](tmp_path, **SMALL)
    file = sorted(tmp_path.rglob("*.tar"))[at]

    def again(change: Callable[[Any], Any]) -> None:
        content = torch.load(file, weights_only=False)
        torch.save([change(each) for each in content] if name == "hald" else change(content), file)

    again(spoil)
    options = ImportOptions(class_names=tuple("abcde"), temperature=2.0)
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path, options)
    one_line(raised.value, str(file))
    assert re.search(advice, raised.value.message)
    types = dict(re.findall(r"float64 (\w+) as (\w+)", raised.value.message))
    again(mend or (lambda record: cast(record, types)))
    assert Import.open(tmp_path, options).facts.format == name


def test_a_tuple_of_batches(tmp_path: Path) -> None:
    write_hald(tmp_path, **SMALL)
    file = tmp_path / "epoch_1.tar"
    torch.save(tuple(torch.load(file, weights_only=False)), file)
    with pytest.raises(LabelFileError, match="not a list of batches; save it again, tuples as li"):
        Import.open(tmp_path, ImportOptions(temperature=2.0))
    torch.save(list(torch.load(file, weights_only=False)), file)
    Import.open(tmp_path, ImportOptions(temperature=2.0))


@pytest.mark.parametrize("content", [(), [], ("a",), None, ((),), {"coords": ()}])
@pytest.mark.parametrize("name", ["sre2l", "hald"])
def test_one_file_of_something_else(name: str, content: object, tmp_path: Path) -> None:
    WRITERS[name](tmp_path, **SMALL)
    file = max(tmp_path.rglob("*.tar"))
    good = file.read_bytes()
    torch.save(content, file)
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path, ImportOptions(temperature=2.0))
    one_line(raised.value, str(file), "again")
    file.write_bytes(good)
    Import.open(tmp_path, ImportOptions(temperature=2.0))


@pytest.mark.parametrize("position", [0, 5])
def test_one_file_of_another_type(position: int, tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    file = tmp_path / "epoch_1" / "batch_1.tar"
    good = file.read_bytes()
    record = torch.load(file, weights_only=False)
    record[position] = record[position].half() if position == 0 else record[position].float()
    torch.save(record, file)
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path)
    one_line(raised.value, str(file), "write all in one type")
    file.write_bytes(good)
    Import.open(tmp_path)


def test_epochs_that_were_put_in_one_directory(tmp_path: Path) -> None:
    """G-VBSM's batches name their samples, but not their epoch."""
    write_gvbsm(tmp_path / "files", **SMALL)
    flat = tmp_path / "flat"
    shutil.copytree(tmp_path / "files" / "epoch_0", flat)
    refused(flat, "gvbsm", "in directories epoch_0, epoch_1")
    shutil.copytree(flat, tmp_path / "back" / "epoch_0")
    assert recognise(tmp_path / "back")[0].name == "gvbsm"
