"""TinyViT's files: which ones exist for every epoch and rank."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labelcast.errors import LabelFileError

EPOCH = re.compile(r"logits_top([1-9][0-9]{0,4})_epoch(0|[1-9][0-9]{0,8})")
_RANK_FILE = re.compile(r"rank(0|[1-9][0-9]{0,5})-(keys\.txt|values\.bin)")


@dataclass(frozen=True, slots=True)
class Epoch:
    """Files of one epoch.

    Attributes:
        path: path of its directory.
        number: number in its name.
        keys, values: files of the ranks, in order.
    """

    path: Path
    number: int
    keys: tuple[Path, ...]
    values: tuple[Path, ...]


def epoch_folders(path: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Directories of epochs, and names of everything that belongs to none."""
    folders: list[Path] = []
    foreign: list[str] = []
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and EPOCH.fullmatch(entry.name):
            folders.append(entry)
            foreign += [f"{entry.name}/{name}" for name in rank_files(entry)[1]]
        else:
            foreign.append(entry.name)
    return folders, tuple(foreign)


def rank_files(folder: Path) -> tuple[dict[int, set[str]], list[str]]:
    """Which files each rank has, and names of other files."""
    ranks: dict[int, set[str]] = defaultdict(set)
    foreign = []
    for entry in sorted(folder.iterdir()):
        match = _RANK_FILE.fullmatch(entry.name)
        if match is None:
            foreign.append(entry.name)
        else:
            ranks[int(match[1])].add(match[2])
    return dict(ranks), foreign


def epochs_of(path: Path) -> tuple[int, list[Epoch]]:
    """Classes per label, and the epochs in order.

    Raises:
        LabelFileError: an epoch or a rank is missing, or epochs keep different numbers of classes.
    """
    folders: dict[int, Path] = {}
    widths = set[int]()
    for folder in epoch_folders(path)[0]:
        match = EPOCH.fullmatch(folder.name)
        if match is not None:
            folders[int(match[2])] = folder
            widths.add(int(match[1]))
    if not folders:
        raise LabelFileError(f"{path} holds no directories called like logits_top100_epoch0")
    if len(widths) > 1:
        raise LabelFileError(f"{path}: epochs keep {sorted(widths)} classes; import them apart")
    gaps = sorted(set(range(min(folders), max(folders))) - set(folders))
    if gaps:
        raise LabelFileError(
            f"{path} lacks epoch {gaps[0]} of {min(folders)} to {max(folders)}; fetch it, or move"
            " the later ones away"
        )
    epochs = [_epoch(folders[number], number) for number in sorted(folders)]
    most = max(epochs, key=lambda epoch: len(epoch.keys))
    for epoch in epochs:
        if len(epoch.keys) < len(most.keys):
            raise LabelFileError(
                f"{epoch.path} lacks rank {len(epoch.keys)}, which {most.path} has; fetch it"
            )
    return widths.pop(), epochs


def _epoch(folder: Path, number: int) -> Epoch:
    ranks, _ = rank_files(folder)
    for rank in range(max(ranks, default=0) + 1):
        for name in ("keys.txt", "values.bin"):
            # A link to what is not there has a name too.
            if name not in ranks.get(rank, ()) or not (folder / f"rank{rank}-{name}").is_file():
                raise LabelFileError(f"{folder} lacks rank{rank}-{name}; fetch it")
    every = range(len(ranks))
    return Epoch(
        folder,
        number,
        tuple(folder / f"rank{rank}-keys.txt" for rank in every),
        tuple(folder / f"rank{rank}-values.bin" for rank in every),
    )


def key_lines(path: Path) -> Iterator[str]:
    """Yield the keys of a file, one after another.

    Raises:
        LabelFileError: it is unreadable, or has an empty line.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                key = line.rstrip("\n")
                if not key.strip():
                    raise LabelFileError(f"{path}, line {number}: a key is empty; fetch it again")
                yield key
    except (OSError, UnicodeDecodeError) as error:
        raise LabelFileError(f"cannot read {path}: {error}; fetch it again") from None
