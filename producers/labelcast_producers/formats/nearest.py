"""Why files are of no format: what is nearest to one, and what makes one of it."""

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from labelcast.errors import LabelFileError
from labelcast_producers.formats.arrays.layout import layout_of, why_no_labels
from labelcast_producers.formats.batches.record import EXPECTED, as_record, describe, how_to_mend
from labelcast_producers.formats.distilled.companions import lacks_labels
from labelcast_producers.formats.distillkit.parquet import is_distillkit
from labelcast_producers.formats.per_image.fkd_files import form_of
from labelcast_producers.formats.source import Importer
from labelcast_producers.formats.tinyvit.files import EPOCH
from labelcast_producers.torchfile import LazyTensor, how_packed, open_torch_file

_MAX_DEPTH = 3
_MAX_FOLDERS = 24
_TRIED = 8
_TORCH_SUFFIXES = (".tar", ".pt", ".pth", ".bin", ".ckpt")
_ARRAY_SUFFIXES = (".npy", ".npz", ".safetensors")
_TAR_MAGIC_AT = 257


def nearest_reason(path: Path, importers: Sequence[Importer]) -> str | None:
    """Say why `path` is of no format, from what is in, above and below it.

    Args:
        path: file or directory that no importer recognises.
        importers: of the formats in question.

    Returns:
        One line that says what to do; None where nothing is near.
    """
    if path.is_dir():
        found = _without_labels(path) or _in_folders(path, importers)
        if found is not None:
            return found
    for file in _files(path):
        reason = _beside(path, file) or _among(path, importers) or _reason(file)
        if reason is not None:
            return reason
    return None


def _in_folders(path: Path, importers: Sequence[Importer]) -> str | None:
    """What importers find, or object to, in directories below."""
    for folder in islice(_folders(path), _MAX_FOLDERS):
        for importer in importers:
            try:
                finding = importer.detect(folder)
            except LabelFileError as error:
                return error.message
            if finding is not None:
                return f"{path} holds {finding.format} in {folder}: give that directory"
        if (lack := _without_labels(folder)) is not None:
            return lack
    return None


def _without_labels(folder: Path) -> str | None:
    lack = lacks_labels(entry.name for entry in folder.iterdir() if entry.exists())
    return None if lack is None else f"{folder} {lack}"


def _folders(path: Path) -> Iterator[Path]:
    """Directories below, the nearest first."""
    level = [path]
    for _ in range(_MAX_DEPTH):
        level = [
            entry
            for folder in level[:_MAX_FOLDERS]
            for entry in sorted(folder.iterdir())
            if entry.is_dir() and not entry.name.startswith(".")
        ]
        yield from level


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return

    def every() -> Iterator[Path]:
        for directory, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(directory) / name for name in sorted(names) if name[:1] != ".")

    yield from islice(every(), _TRIED)


def _beside(path: Path, file: Path) -> str | None:
    """Whether `path` is a part of what should have been given, or has it among others."""
    if file != path and layout_of(file) is not None:
        return f"{path} holds labels in {file.relative_to(path)}: give that file"
    folder = path if path.is_dir() else path.parent
    if EPOCH.fullmatch(folder.name):
        what = "one epoch" if path.is_dir() else "a file of one epoch"
        return f"{path} is {what} of tinyvit: give {folder.parent}"
    if file.suffix not in _TORCH_SUFFIXES or file.parent != folder:
        return None
    try:
        with open_torch_file(file) as opened:
            tree = opened.tree
            items = tree if isinstance(tree, list | tuple) else []
            infos = [each.info if isinstance(each, LazyTensor) else each for each in items]
            if form_of(infos) is not None:
                if path.is_dir():
                    return f"{path} is one class of fkd: give the directory above, {folder.parent}"
                return (
                    f"{path} is the file of one image of fkd: give the directory above its class,"
                    f" {folder.parent}"
                )
            if path.is_file() and as_record(tree) is not None:
                return f"{path} is one batch: give the directory that the producer wrote"
    except LabelFileError:
        return None
    return None


def _among(path: Path, importers: Sequence[Importer]) -> str | None:
    """What importers find in the directory of a file."""
    if not path.is_file():
        return None
    for importer in importers:
        try:
            finding = importer.detect(path.parent)
        except LabelFileError:
            continue
        if finding is not None:
            return f"{path} is among the files of {finding.format}: give {path.parent}"
    return None


def _reason(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            head = opened.read(512)
    except OSError as error:
        return f"cannot read {file}: {error.strerror or error}"
    if (packed := how_packed(head)) is not None:
        return f"{file} {packed}"
    if file.suffix == ".parquet":
        return _raised(lambda: is_distillkit(file)) or why_no_labels(file)
    if file.suffix in _ARRAY_SUFFIXES:
        return why_no_labels(file)
    if file.suffix not in _TORCH_SUFFIXES and not head.startswith(b"PK"):
        return None
    if head[_TAR_MAGIC_AT:].startswith(b"ustar") and b"storages" not in head:
        return f"{file} is an archive of files; unpack it (tar -xf) and give the directory"
    try:
        with open_torch_file(file) as torch_file:
            return _shape_reason(file, torch_file.tree)
    except LabelFileError as error:
        return error.message


def _raised(test: Any) -> str | None:
    try:
        test()
    except LabelFileError as error:
        return error.message
    return None


def _shape_reason(file: Path, tree: Any) -> str | None:
    """What keeps a record, or a list of records, from being one."""
    record = tree[0] if isinstance(tree, list | tuple) and tree else tree
    record = record if isinstance(record, list | tuple) else tree
    if not isinstance(record, list | tuple) or not record or not _is_array(record[0], 2, 4):
        alone = "; save labels alone, as a tensor of floats (N, C)" if _has_labels(tree) else ""
        return f"{file} holds {describe(tree)}, which no format has{alone}"
    advice = how_to_mend(tree if isinstance(tree, tuple) else record)
    return f"{file} is {describe(record)}, not {EXPECTED}; {advice}"


def _has_labels(tree: Any) -> bool:
    """Whether a float array with two axes is in a list, a tuple or a dictionary."""
    values = list(tree.values()) if isinstance(tree, Mapping) else tree
    if isinstance(values, list | tuple):
        return any(map(_has_labels, values))
    return _is_array(values, 2) and values.dtype.kind == "f"


def _is_array(value: Any, num_axes: int, columns: int | None = None) -> bool:
    if not isinstance(value, LazyTensor | np.ndarray) or len(value.shape) != num_axes:
        return False
    return columns is None or value.shape[-1] == columns
