"""Distilled sets with learned labels: MTT's tensors, and the arrays of FRePO and KIP.

`labels_best.pt` beside `images_best.pt` and `syn_lr_best.pt` (MTT and its successors), or arrays
`image` and `label` (FRePO) or `x` and `y` in an `.npz` or a pair of `.npy`. Labels are int64 (N,),
or learned floats (N, C), which are exactly neither logits nor probabilities: they are kept as what
their values look like. A sample is a row, and has one view.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import RecordedViews
from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set import GridIndex, RowOrder, SampleOrder
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.files import check_finite
from labelcast_producers.encoding.write_staged import StageFacts
from labelcast_producers.formats.arrays import decided_kind
from labelcast_producers.formats.arrays.npz import NpzRows, npz_arrays, npz_integers
from labelcast_producers.formats.arrays.rows import NPY_ERRORS
from labelcast_producers.formats.distilled.companions import (
    IMAGES,
    LABELS,
    RATE,
    is_companion,
    notes_on_companions,
)
from labelcast_producers.formats.distilled.learning_rates import learning_rate
from labelcast_producers.formats.shared.image_names import check_class_names
from labelcast_producers.formats.shared.stamps import Stamps, changed
from labelcast_producers.formats.shared.top_k import check_distributions, checked_ids
from labelcast_producers.formats.source import (
    Finding,
    Importer,
    ImportOptions,
    Part,
    Source,
    SourceFacts,
    TopK,
)
from labelcast_producers.torchfile import TensorInfo, read_torch_file, read_torch_structure

FORMAT = "distilled"
# Names of images and their labels in arrays.
PAIRS = (("image", "label"), ("x", "y"))
Labels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Shapes:
    """Types and shapes of labels and their images; None if there are no images."""

    labels: tuple[np.dtype[Any], tuple[int, ...]]
    images: tuple[np.dtype[Any], tuple[int, ...]] | None


class DistilledImporter(Importer):
    """A directory of MTT's tensors, or images and labels in a pair of `.npy` or an `.npz`."""

    name = FORMAT

    def detect(self, path: Path) -> Finding | None:
        """See `Importer.detect`."""
        shapes = _shapes(path)
        if shapes is None:
            return None
        where = path / LABELS if (path / LABELS).is_file() else path
        check_shapes(where, shapes)
        dtype, shape = shapes.labels
        inside: dict[str, Any] = {
            "samples": shape[0],
            "labels": "hard" if len(shape) == 1 else "learned",
            "dtype": dtype.name,
        }
        missing = ["--temperature: of labels that are probabilities; 1 if it is left out"]
        if len(shape) == 2:
            inside["classes"] = shape[1]
            missing.append("--label-kind: what learned labels are; decided from their values")
        if shapes.images is not None:
            inside["images"] = list(shapes.images[1])
        return Finding(
            format=FORMAT,
            title="Distilled set (MTT, FRePO, KIP): labels of learned images, one view each",
            inside=inside,
            missing=tuple(missing),
            foreign=_foreign(path),
        )

    def open(
        self, path: Path, options: ImportOptions, *, progress: Progress = unwatched
    ) -> "DistilledSource":
        """See `Importer.open`; labels are read and checked on the way.

        Raises:
            LabelValueError: NaN, infinity, or labels not of the kind that the user gave.
        """
        shapes, foreign = _shapes(path), _foreign(path)
        if shapes is None:
            raise LabelFileError(
                f"{path} holds neither {LABELS} nor arrays image and label, or x and y"
            )
        if foreign:
            raise LabelFileError(
                f"{path}: {foreign[0]} is no part of a distilled set; move it away"
            )
        notes = notes_on_companions(_names(path))
        if path.is_dir() and (path / LABELS).is_file():
            file, load = path / LABELS, read_labels
            if (path / RATE).is_file():
                notes.append(f"learning rate of the producer: {learning_rate(path / RATE):.6g}")
        elif path.is_dir():
            file, load = path / f"{_pair_in(path)[1]}.npy", _read_npy
        else:
            file, load = path, _read_npz
        stamps = Stamps()
        stamps.note(file)
        check_shapes(file, shapes)
        part = Part(file, np.arange(shapes.labels[1][0], dtype=np.int64))
        progress(1, 1)
        return DistilledSource(
            [part], load, options, stamps=stamps, format_name=FORMAT, notes=notes
        )


class DistilledSource(Source):
    """Labels of distilled samples, a row each.

    Args:
        parts: parts in order; their rows are also the rows of their files.
        load: reads the labels of a file: integers (N,) or floats (N, C), checked.
        options: options of the user.
        stamps: size and times of the files of all parts, noted before they were read.
        format_name: name of the importer.
        notes: first notes, to which others are added.
        stages: stages of a staged set.

    Raises:
        InvalidRequestError: options contradict the files, or one is missing.
        LabelFileError, LabelValueError: the labels are invalid.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        load: Callable[[Path], Labels],
        options: ImportOptions,
        *,
        stamps: Stamps,
        format_name: str,
        notes: list[str],
        stages: tuple[StageFacts, ...] = (),
    ) -> None:
        if options.images is not None or options.image_list is not None:
            raise InvalidRequestError(
                "samples of a distilled set are its own images; leave --images and --image-list out"
            )
        self.parts, self._load, self._stamps = parts, load, stamps
        path = parts[-1].path
        with stamps.unchanged(path):
            labels = load(path)
        self._is_hard = labels.ndim == 1
        if self._is_hard:
            if options.label_kind is LabelKind.LOGITS:
                raise InvalidRequestError(f"{path} holds classes: leave out --label-kind")
            self._num_classes = _num_classes(path, labels, options)
            hard = checked_ids(labels[:, None], self._num_classes, _sample_of(path))[:, 0]
            kind, more = LabelKind.PROBABILITIES, list[str]()
            temperature: float | None = 1.0
        else:
            self._num_classes = labels.shape[1]
            check_class_names(options, self._num_classes, path)
            kind, more = decided_kind(path, labels, options)
            hard = labels.argmax(axis=1).astype(np.int64)
            more.append("hard labels are the likeliest classes")
            temperature = options.temperature_of(kind)
        self._kind = kind
        sample_ids = np.arange(len(labels), dtype=np.uint64)
        seeds = np.zeros(1, dtype=np.uint32)
        self.facts = SourceFacts(
            format=format_name,
            num_classes=self._num_classes,
            label_kind=kind,
            temperature=temperature,
            top_k=TopK(1, Recovery.RENORMALISE) if self._is_hard else None,
            index=GridIndex(sample_ids, seeds, RowOrder.SEED_MAJOR),
            hard_labels=hard,
            policy=None,
            order=SampleOrder.GIVEN,
            stages=stages,
            class_names=options.class_names,
            notes=(*notes, "sample IDs number the rows", *more),
        )

    def records(self) -> RecordedViews | None:
        """None: samples are learned without augmentation."""
        return None

    def read(self, part: Part) -> NDArray[Any]:
        """See `Source.read`."""
        if self._is_hard:
            ids, _ = self.read_top_k(part)
            one_hot = np.zeros((len(ids), self._num_classes), dtype=np.float32)
            np.put_along_axis(one_hot, ids, 1, axis=1)
            return one_hot
        labels = self._again(part)
        if self._kind is LabelKind.PROBABILITIES:
            check_distributions(labels, _sample_of(part.path))
        return labels

    def read_top_k(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Classes of hard labels and ones: int64 and float32, shape (n, 1)."""
        ids = checked_ids(self._again(part)[:, None], self._num_classes, _sample_of(part.path))
        return ids, np.ones(ids.shape, dtype=np.float32)

    def _again(self, part: Part) -> Labels:
        with self._stamps.unchanged(part.path):
            labels = self._load(part.path)
        shape = () if self._is_hard else (self._num_classes,)
        if len(labels) <= part.rows[-1] or labels.shape[1:] != shape:
            raise changed(part.path)
        found: Labels = labels[part.rows]
        return found


def read_labels(path: Path) -> Labels:
    """Read the labels of a `torch.save` file: int64 (N,), or float16 or float32 (N, C).

    Raises:
        LabelFileError: the file holds none of these.
        LabelValueError: NaN or infinity; names the row.
    """
    return checked_labels(path, read_torch_file(path))


def checked_labels(path: Path, stored: Any) -> Labels:
    """Check labels as they were stored.

    Returns:
        Integers (N,), or float16 or float32 (N, C).

    Raises:
        LabelFileError: they have another shape or type.
        LabelValueError: NaN or infinity; names the row.
    """
    if not isinstance(stored, np.ndarray) or not is_labels(stored.dtype, stored.shape):
        raise _no_labels(path, stored)
    if stored.ndim == 1:
        return stored.astype(np.int64)
    labels = stored.astype(np.float32) if stored.itemsize > 4 else stored
    try:
        check_finite(labels)
    except LabelValueError as error:
        raise LabelValueError(f"{path}: {error.message}", path=path) from None
    return labels


def is_labels(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether these are classes (N,) or learned labels (N, C)."""
    hard = len(shape) == 1 and dtype.kind in "iu"
    return 0 not in shape and (hard or (len(shape) == 2 and dtype.kind == "f"))


def is_images(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether these may be images (N, …)."""
    return len(shape) >= 2 and dtype.kind in "fu"


def check_shapes(path: Path, shapes: Shapes) -> None:
    """Refuse labels of another shape, or not one for each image.

    Raises:
        LabelFileError: the shapes are wrong.
    """
    dtype, shape = shapes.labels
    if not is_labels(dtype, shape):
        raise _no_labels(path, TensorInfo(dtype, shape, dtype.name))
    if shapes.images is not None and shapes.images[1][:1] != shape[:1]:
        raise LabelFileError(
            f"{path} has {shape[0]} labels, but there are {shapes.images[1][:1]} images; take both"
            " from one run"
        )


def _no_labels(path: Path, stored: Any) -> LabelFileError:
    found = type(stored).__name__
    if isinstance(stored, np.ndarray | TensorInfo):
        found = f"{stored.dtype.name} of shape {stored.shape}"
    return LabelFileError(
        f"{path} holds {found}, where labels are integers (N,) or floats (N, C); save them so",
        path=path,
    )


def _num_classes(path: Path, labels: Labels, options: ImportOptions) -> int:
    if options.class_names is not None:
        return len(options.class_names)
    found = np.unique(labels)
    # A distilled set has images of every class.
    if found[0] != 0 or found[-1] != len(found) - 1:
        raise InvalidRequestError(
            f"{path} has no image of some classes up to {found[-1]}, so it does not tell how many"
            " there are; give --class-names"
        )
    return len(found)


def _sample_of(path: Path) -> Callable[[int], str]:
    return lambda row: f"{path}, sample {row}"


def _shapes(path: Path) -> Shapes | None:
    if path.is_file() and path.suffix == ".npz":
        # What is wrong with other files is for the importer of arrays to report.
        try:
            arrays = npz_arrays(path)
        except LabelFileError:
            return None
        return _pair({name: (each.dtype, each.shape) for name, each in arrays.items()})
    if (path / LABELS).is_file():
        labels = info_of(path / LABELS, read_torch_structure(path / LABELS))
        images = None
        if (path / IMAGES).is_file():
            images = info_of(path / IMAGES, read_torch_structure(path / IMAGES))
        return Shapes(labels, images)
    if path.is_dir() and (names := _pair_in(path)):
        return _pair({name: _npy_shape(path / f"{name}.npy") for name in names})
    return None


def _pair_in(path: Path) -> tuple[str, ...]:
    """Names of images and labels of which a directory has `.npy` files; () if of none."""
    found = (names for names in PAIRS if all((path / f"{name}.npy").is_file() for name in names))
    return next(found, ())


def info_of(path: Path, stored: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Type and shape of the only tensor in a file.

    Raises:
        LabelFileError: it holds something else.
    """
    if not isinstance(stored, TensorInfo):
        raise _no_labels(path, stored)
    return stored.dtype, stored.shape


def _pair(found: dict[str, tuple[np.dtype[Any], tuple[int, ...]]]) -> Shapes | None:
    for images, labels in PAIRS:
        if (
            set(found) == {images, labels}
            and is_images(*found[images])
            and is_labels(*found[labels])
        ):
            return Shapes(found[labels], found[images])
    return None


def _npy_shape(path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except NPY_ERRORS as error:
        raise LabelFileError(f"{path} is truncated, pickled or no npy file: {error}") from None
    return array.dtype, array.shape


def _read_npy(path: Path) -> Labels:
    _npy_shape(path)
    return checked_labels(path, np.load(path, allow_pickle=False))


def _read_npz(path: Path) -> Labels:
    arrays = npz_arrays(path)
    array = arrays[next(labels for _, labels in PAIRS if labels in arrays)]
    if len(array.shape) == 1:
        return npz_integers(path, array, array.shape[0])
    rows = NpzRows(path, array)
    return checked_labels(path, rows.read(0, rows.num_rows))


def _names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []


def _foreign(path: Path) -> tuple[str, ...]:
    if (path / LABELS).is_file():
        known = {LABELS, IMAGES, RATE}
        return tuple(name for name in _names(path) if name not in known and not is_companion(name))
    known = {f"{name}.npy" for name in _pair_in(path)}
    return tuple(name for name in _names(path) if name not in known)
