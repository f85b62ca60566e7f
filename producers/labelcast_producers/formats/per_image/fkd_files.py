"""FKD's files: which ones exist, and what one holds."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelFileError
from labelcast_producers.torchfile import LazyTensor, TensorInfo, open_torch_file

_SUFFIXES = (".tar", ".pth", ".pt")
# Fractions in half precision are off by this much.
_CROP_TOLERANCE = 2.0**-10


@dataclass(frozen=True, slots=True)
class Form:
    """How labels are reduced.

    Attributes:
        name: hard, smoothing, marginal or full.
        k: number of classes that a label names; None if it has all.
    """

    name: str
    k: int | None


def label_files(path: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Label files in the order of an ImageFolder, and names of what is no label file.

    Raises:
        LabelFileError: a directory cannot be listed.
    """
    if not path.is_dir():
        return [], ()
    files: list[Path] = []
    classes = class_directories(path)
    foreign = sorted({entry.name for entry in path.iterdir()}.difference(classes))
    for name in classes:
        # What cannot be listed would be left out, and every later ID be another image's.
        listed = os.walk(path / name, followlinks=True, onerror=_refuse)
        for directory, _, found in sorted(listed):
            for file in sorted(found):
                entry = Path(directory) / file
                if file.endswith(_SUFFIXES) and not file.startswith("."):
                    files.append(entry)
                else:
                    foreign.append(entry.relative_to(path).as_posix())
    return files, tuple(foreign)


def _refuse(error: OSError) -> NoReturn:
    raise LabelFileError(
        f"cannot list {error.filename}: {error.strerror}; make it readable"
    ) from None


def is_above_classes(path: Path, files: list[Path]) -> bool:
    """Whether `path` lies too high: what is in it are data sets or splits, not classes.

    Files of an ImageFolder may lie deeper than their class, but not all of them, in several
    directories of one class.

    Args:
        path: of the supposed class directories.
        files: in them.
    """
    parts = [file.relative_to(path).parts for file in files]
    if not parts or any(len(each) == 2 for each in parts):
        return False
    folders = {each[:-1] for each in parts}
    classes = {each[0] for each in parts}
    return len(classes) == 1 or len({each[:2] for each in folders}) > len(classes)


def class_directories(path: Path) -> list[str]:
    """Names of the class directories, sorted."""
    return sorted(
        entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )


def form_of(tree: Any) -> tuple[Form, int] | None:
    """Find the form of a label and its crops, by types and shapes; None if it is not FKD's."""
    if not isinstance(tree, list | tuple) or len(tree) != 3:
        return None
    if not all(isinstance(each, TensorInfo | np.ndarray) for each in tree):
        return None
    coords, flip, label = tree
    shapes_fit = len(coords.shape) == 2 and coords.shape[1] == 4 and len(flip.shape) == 1
    if not shapes_fit or coords.dtype.kind != "f" or flip.dtype.kind not in "biu":
        return None
    form, floats = None, label.dtype.kind == "f"
    match label.shape:
        case (_,) if label.dtype.kind in "iuf":
            form = Form("hard", 1)
        case (_, 2) if floats:
            form = Form("smoothing", 1)
        case (_, 2, k) if floats and k:
            form = Form("marginal", k)
        case (_, classes) if floats and classes > 2:
            form = Form("full", None)
    return None if form is None else (form, coords.shape[0])


def shapes_of(file: Path) -> Any:
    """Read a file with its coordinates and flips, but only the shape of a tensor of labels.

    Raises:
        LabelFileError: it is not FKD's, or damaged.
    """
    with open_torch_file(file) as opened:
        tree = opened.tree
        if not isinstance(tree, list | tuple) or len(tree) != 3:
            return tree
        values = [each.read() if isinstance(each, LazyTensor) else each for each in tree[:2]]
        label = tree[2].info if isinstance(tree[2], LazyTensor) else tree[2]
        return [*values, label]


def three_of(file: Path, tree: Any) -> tuple[NDArray[Any], NDArray[np.bool_], Any]:
    """Take coordinates, flips and label from a file that was read.

    Raises:
        LabelFileError: it is not FKD's, or its three parts have different lengths.
    """
    if form_of(tree) is None:
        raise LabelFileError(
            f"{file} is not [coords (N, 4), flip (N,), label] as FKD writes it; label that image"
            " again, or move the file away"
        )
    coords, flip, label = tree
    counts = [each.shape[0] for each in (coords, flip, label)]
    if len(set(counts)) > 1 or not counts[0]:
        raise LabelFileError(
            f"{file} has {counts[0]} crops, {counts[1]} flips and {counts[2]} labels; label"
            " that image again"
        )
    if not np.isin(flip, (0, 1)).all():
        raise LabelFileError(f"{file}: a flip is neither 0 nor 1; label that image again")
    return coords, flip.astype(np.bool_), label


def checked_coords(file: Path, coords: NDArray[Any]) -> NDArray[np.float64]:
    """Check the crops of a file.

    Raises:
        LabelFileError: one that is empty or not within the image.
    """
    coords = coords.astype(np.float64)
    start, extent = coords[:, :2], coords[:, 2:]
    # Written so that NaN fails.
    good = (start >= 0) & (extent > 0) & (start + extent <= 1 + _CROP_TOLERANCE)
    if not good.all():
        row = int(np.argmin(good.all(axis=1)))
        raise LabelFileError(
            f"{file}, crop {row}: {coords[row].tolist()} lies outside the image (top, left, height"
            " and width are fractions of it); label that image again"
        )
    return coords
