"""Where the files of a producer are: reads only names and opens nothing.

epoch_{e}/batch_{b}.tar   SRe2L, CDA, CV-DD, LPLD, G-VBSM, EDC
batch_{n}.tar             LPQLD
epoch_{e}.tar             HALD, all batches of an epoch in one file
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from labelcast.errors import LabelFileError

_NUMBER = r"(0|[1-9][0-9]{0,8})"
_EPOCH_DIRECTORY = re.compile(f"epoch_{_NUMBER}")
_EPOCH_FILE = re.compile(rf"epoch_{_NUMBER}\.tar")
_BATCH_FILE = re.compile(rf"batch_{_NUMBER}\.tar")
# The number of foreign files and missing numbers that fit one line.
SHOWN = 5


class Kind(StrEnum):
    """How batches are spread over files."""

    EPOCH_DIRECTORIES = "epoch directories"
    FLAT = "flat batches"
    EPOCH_FILES = "epoch files"


# Files beside the batches that list the samples.
IDS_NAMES = {
    Kind.EPOCH_DIRECTORIES: "sampler_indices_epoch.json",
    Kind.FLAT: "sampler_indices_batch.json",
    Kind.EPOCH_FILES: "sampler_indices_dict.pt",
}


# What LPLD's and LPQLD's scripts note of a run. Without a file that names the samples, it tells
# whose batches these are.
ARGUMENTS_NAME = "args.txt"
# Beside the batches, and no labels.
_COMPANIONS = frozenset({ARGUMENTS_NAME, ".DS_Store"})


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of labels.

    Attributes:
        path: path of the file.
        epoch: number in its name or its directory's; None in flat layouts.
        number: number of the batch; 0 for a file of a whole epoch.
    """

    path: Path
    epoch: int | None
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The files of one directory.

    Attributes:
        root: path of the directory.
        kind: kind of the layout.
        files: files of labels, by epoch and number.
        ids_file: file that lists the samples; None if it is missing.
        companions: files that are known to lie beside labels and hold none, relative to `root`.
        foreign: all other files, relative to `root`.
    """

    root: Path
    kind: Kind
    files: tuple[StoredFile, ...]
    ids_file: Path | None
    companions: tuple[str, ...]
    foreign: tuple[str, ...]

    @property
    def is_lplds(self) -> bool:
        """Whether something beside the batches tells that LPLD made them."""
        return self.ids_file is not None or ARGUMENTS_NAME in self.companions

    @property
    def num_epochs(self) -> int | None:
        """Number of epochs according to the names; None in flat layouts."""
        if self.kind is Kind.FLAT:
            return None
        return len({file.epoch for file in self.files})

    def check(self) -> None:
        """Refuse foreign files and gaps in the numbers.

        Raises:
            LabelFileError: there are some; names up to five.
        """
        if self.foreign:
            raise LabelFileError(
                f"{self.root} holds files that belong to no known layout: {some(self.foreign)};"
                " move them away",
                path=self.root,
            )
        epochs = sorted({file.epoch for file in self.files if file.epoch is not None})
        self._check_gaps([self.root / name for name in _gaps("epoch_", epochs)])
        if self.kind is Kind.EPOCH_FILES:
            return
        by_directory: dict[Path, list[int]] = {}
        for file in self.files:
            by_directory.setdefault(file.path.parent, []).append(file.number)
        for directory, numbers in by_directory.items():
            self._check_gaps([directory / name for name in _gaps("batch_", numbers)])

    def _check_gaps(self, missing: Sequence[Path]) -> None:
        if missing:
            suffix = "" if self.kind is Kind.EPOCH_DIRECTORIES else ".tar"
            names = [
                f"{path.relative_to(self.root)}{'.tar' if 'batch_' in path.name else suffix}"
                for path in missing
            ]
            raise LabelFileError(
                f"{self.root} lacks {some(names)}, though later ones are there; fetch what is"
                " missing",
                path=self.root,
                missing=names[0],
            )


def find_layout(path: Path) -> Layout | None:
    """Find the layout of a directory by the names in it.

    Args:
        path: any path that the user gave.

    Returns:
        None if no name is that of an epoch or a batch, or if it is no directory.

    Raises:
        LabelFileError: a directory cannot be listed.
    """
    if not path.is_dir():
        return None
    names = _names(path)
    kind = _kind(path, names)
    if kind is None:
        return None
    files: list[StoredFile] = []
    foreign: list[str] = []
    for name in names:
        if kind is Kind.EPOCH_DIRECTORIES and (match := _EPOCH_DIRECTORY.fullmatch(name)):
            if not (path / name).is_dir():
                foreign.append(name)
                continue
            found, others = _batches(path / name, int(match[1]))
            files += found
            foreign += [f"{name}/{other}" for other in others]
        elif kind is Kind.FLAT and (match := _BATCH_FILE.fullmatch(name)):
            files.append(StoredFile(path / name, None, int(match[1])))
        elif kind is Kind.EPOCH_FILES and (match := _EPOCH_FILE.fullmatch(name)):
            files.append(StoredFile(path / name, int(match[1]), 0))
        elif name != IDS_NAMES[kind]:
            foreign.append(name)
    if not files:
        return None
    files.sort(key=lambda file: (file.epoch or 0, file.number))
    return Layout(
        root=path,
        kind=kind,
        files=tuple(files),
        ids_file=path / IDS_NAMES[kind] if IDS_NAMES[kind] in names else None,
        companions=tuple(name for name in foreign if _is_companion(name)),
        foreign=tuple(name for name in foreign if not _is_companion(name)),
    )


def whole_of(path: Path) -> Path | None:
    """The directory that a producer wrote, by name, where a path is one epoch or one file of it.

    Args:
        path: whatever the user gave.
    """
    # The name of "." is empty.
    path = path.resolve()
    is_epoch = _EPOCH_DIRECTORY.fullmatch(path.name) is not None and path.is_dir()
    if is_epoch and not (path / IDS_NAMES[Kind.FLAT]).exists():
        return path.parent
    if not path.is_file():
        return None
    if _BATCH_FILE.fullmatch(path.name):
        above = path.parent
        return above.parent if _EPOCH_DIRECTORY.fullmatch(above.name) else above
    return path.parent if _EPOCH_FILE.fullmatch(path.name) else None


def _is_companion(name: str) -> bool:
    return name.rpartition("/")[2] in _COMPANIONS


def _kind(path: Path, names: Sequence[str]) -> Kind | None:
    for name in names:
        if _EPOCH_DIRECTORY.fullmatch(name) and (path / name).is_dir():
            return Kind.EPOCH_DIRECTORIES
    for pattern, kind in ((_EPOCH_FILE, Kind.EPOCH_FILES), (_BATCH_FILE, Kind.FLAT)):
        if any(pattern.fullmatch(name) for name in names):
            return kind
    return None


def _batches(directory: Path, epoch: int) -> tuple[list[StoredFile], list[str]]:
    files, foreign = [], []
    for name in _names(directory):
        match = _BATCH_FILE.fullmatch(name)
        if match:
            files.append(StoredFile(directory / name, epoch, int(match[1])))
        else:
            foreign.append(name)
    return files, foreign


def _names(directory: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in directory.iterdir())
    except OSError as error:
        raise LabelFileError(f"cannot list {directory}: {error.strerror}", path=directory) from None


def _gaps(stem: str, numbers: Sequence[int]) -> list[str]:
    """Names of the first few numbers from 0 on that are missing below the highest."""
    there = set(numbers)
    missing: list[str] = []
    for number in range(max(there, default=-1)):
        if number not in there:
            missing.append(f"{stem}{number}")
            # One more than is shown, so that the message can say that there are more.
            if len(missing) > SHOWN:
                break
    return missing


def some(names: Sequence[str]) -> str:
    """The first few of some names, on one line."""
    more = " and more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
