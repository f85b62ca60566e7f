"""FKD (arXiv 2112.01528): one file per image with crops, flips and reduced probabilities.

`[coords (N, 4), flip (N,), label]`, where the label is hard (N,), smoothing (N, 2), marginal
(N, 2, k) or full (N, C). Class IDs are stored as floats beside their probabilities.
`marginal_smoothing` and `marginal_renorm` store the same and differ in how it is recovered.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import RecordedPolicy, RecordedViews
from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import SampleOrder
from labelcast.progress import Progress, unwatched
from labelcast_producers.formats.per_image.fkd_files import (
    Form,
    checked_coords,
    class_directories,
    form_of,
    is_above_classes,
    label_files,
    shapes_of,
    three_of,
)
from labelcast_producers.formats.shared.consecutive_parts import ConsecutiveParts, RowRange
from labelcast_producers.formats.shared.copies import (
    copied,
    differ_within,
    pairs_of_same_draws,
)
from labelcast_producers.formats.shared.counting import counted
from labelcast_producers.formats.shared.image_names import (
    ImageNames,
    check_class_names,
    ragged_index,
)
from labelcast_producers.formats.shared.meaning import notes_on_kind
from labelcast_producers.formats.shared.stamps import Stamps, changed
from labelcast_producers.formats.shared.top_k import (
    check_distributions,
    checked_ids,
    checked_values,
    recovered,
    top_k_recovery,
)
from labelcast_producers.formats.shared.view_size import assumed_view_size
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

FORMAT = "fkd"
_TRIED = 5
# Whole files are parts: a file is small, and its content is read at once.
_WHOLE = 2**62
_SUM_TOLERANCE = 1e-3
_RECOVERIES = (
    "--recovery spread (marginal_smoothing: the other classes share what is missing to 1) or"
    " renormalise (marginal_renorm: the k are divided by their sum)"
)


@dataclass(slots=True)
class _Scan:
    """What the files have said so far."""

    coords: list[NDArray[np.float64]] = field(default_factory=list)
    flip: list[NDArray[np.bool_]] = field(default_factory=list)
    dtypes: dict[np.dtype[Any], Path] = field(default_factory=dict)
    sums_to_one: bool = True


class FkdImporter(Importer):
    """Importer of class directories of label files, one for each image of an ImageFolder."""

    name = FORMAT

    def detect(self, path: Path) -> Finding | None:
        """See `Importer.detect`."""
        files, foreign = label_files(path)
        if is_above_classes(path, files):
            return None
        for file in files[:_TRIED]:
            try:
                found = form_of(read_torch_structure(file))
            except LabelFileError:
                continue
            if found is not None:
                break
        else:
            return None
        form, crops = found
        inside: dict[str, Any] = {
            "images": len(files),
            "classes": len(class_directories(path)),
            "crops_per_image": crops,
            "labels": form.name,
        }
        missing = ["--temperature: that the teacher's softmax had; 1 if it is left out"]
        if form.name == "marginal":
            _, _, label = three_of(file, read_torch_file(file))
            totals = label[:, 1].astype(np.float64).sum(axis=1)
            inside |= {"k": form.k, "sums": [float(totals.min()), float(totals.max())]}
            if form.k != 10 and not _all_one(totals):
                missing.append(_RECOVERIES)
        return Finding(
            format=FORMAT,
            title="FKD: reduced probabilities of recorded crops, one file an image",
            inside=inside,
            missing=tuple(missing),
            foreign=foreign,
        )

    def open(
        self, path: Path, options: ImportOptions, *, progress: Progress = unwatched
    ) -> "FkdSource":
        """See `Importer.open`; all but full labels, which are large, are read and checked too.

        Raises:
            LabelValueError: the labels are no probabilities.
        """
        files, foreign = label_files(path)
        if foreign:
            raise LabelFileError(f"{path}: {foreign[0]} is no label of FKD's; move it away")
        if not files or is_above_classes(path, files):
            raise LabelFileError(f"{path} holds no class directories with label files")
        return FkdSource(path, files, options, progress)


class FkdSource(Source):
    """Scanned label files.

    Args:
        path: path of the class directories.
        files: label files in the order of an ImageFolder.
        options: options of the user.
    """

    def __init__(
        self, path: Path, files: list[Path], options: ImportOptions, progress: Progress = unwatched
    ) -> None:
        classes = class_directories(path)
        images = ImageNames.of(options)
        sample_ids = np.arange(len(files), dtype=np.uint64)
        if images is not None:
            files, sample_ids = _in_order_of(images, path, files)
        self._form, label = _first_form(files[0], options, len(classes))
        self._kind = options.label_kind or LabelKind.PROBABILITIES
        if self._form.name == "hard" and self._kind is LabelKind.LOGITS:
            raise InvalidRequestError(f"{files[0]} holds classes: leave out --label-kind")
        self._num_classes = _num_classes(path, self._form, label, options, images, len(classes))
        self._stamps = Stamps()
        scan = _Scan()
        recovery = top_k_recovery(options.recovery, self._kind)
        for file in counted(files, progress):
            self._scan(file, scan)
            recovery = recovery or self._known_recovery(scan)
        self._require_no_copies(files, scan)
        if len(scan.dtypes) > 1:
            (usual, first), (other, file) = list(scan.dtypes.items())[:2]
            raise LabelFileError(
                f"{file}: labels are {other}, those of {first} are {usual}; write all in one type"
            )
        self._recovery = recovery or Recovery.RENORMALISE
        counts = np.array([len(flip) for flip in scan.flip], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._coords, self._flip = np.concatenate(scan.coords), np.concatenate(scan.flip)
        root, known = (None, ()) if images is None else (images.root, images.names)
        size = options.view_size or assumed_view_size(root, known, self._coords)
        self._policy = RecordedPolicy(view_height=size, view_width=size)
        names, hard_labels = _known_classes(path, files, options, images, self._num_classes)
        hard = self._form.name == "hard"
        self.facts = SourceFacts(
            format=FORMAT,
            num_classes=self._num_classes,
            label_kind=self._kind,
            temperature=1.0 if hard else options.temperature_of(self._kind),
            top_k=None if self._form.k is None else TopK(self._form.k, self._recovery),
            index=ragged_index(sample_ids, counts),
            hard_labels=hard_labels,
            policy=self._policy,
            order=SampleOrder.GIVEN,
            class_names=names,
            notes=tuple(self._notes(options, images, hard_labels)),
        )
        self.parts = ConsecutiveParts(
            [
                RowRange(file, int(start), int(stop))
                for file, start, stop in zip(files, starts, starts[1:], strict=False)
            ],
            _WHOLE,
        )

    def records(self) -> RecordedViews:
        """See `Source.records`."""
        views = self.facts.index.views()
        plain = RecordedViews.plain(views.sample_ids, views.seeds, self._policy)
        return replace(plain, crop=self._coords, flip=self._flip)

    def read(self, part: Part) -> NDArray[Any]:
        """See `Source.read`."""
        if self._form.k is not None:
            ids, values = self.read_top_k(part)
            return recovered(ids, values, self._num_classes, self._recovery, self._kind)
        label = self._again(part)
        labels = label.astype(label.dtype.newbyteorder("=") if label.itemsize < 8 else np.float32)
        if self._kind is LabelKind.PROBABILITIES:
            check_distributions(labels, _crop_of(part.path))
        return labels

    def read_top_k(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Read classes and probabilities of a part: int64 and float32, shape (n, k)."""
        return self._top_k(part.path, self._again(part))

    def _again(self, part: Part) -> NDArray[Any]:
        with self._stamps.unchanged(part.path):
            _, flip, label = three_of(part.path, read_torch_file(part.path))
        if len(flip) != len(part.rows) or not self._is_of_form(label):
            raise changed(part.path)
        found: NDArray[Any] = label
        return found

    def _scan(self, file: Path, scan: _Scan) -> None:
        self._stamps.note(file)
        tree = shapes_of(file) if self._form.k is None else read_torch_file(file)
        coords, flip, label = three_of(file, tree)
        if not self._is_of_form(label):
            raise LabelFileError(
                f"{file}: its label has the shape {label.shape}, where others are"
                f" {self._form.name} of {self._num_classes} classes; label that image again"
            )
        scan.coords.append(checked_coords(file, coords))
        scan.flip.append(flip)
        if self._form.k is None:
            scan.dtypes.setdefault(label.dtype, file)
            return
        _, values = self._top_k(file, label)
        scan.sums_to_one = scan.sums_to_one and _all_one(values.sum(axis=1, dtype=np.float64))

    def _require_no_copies(self, files: list[Path], scan: _Scan) -> None:
        def label(at: int) -> bytes:
            return bytes(three_of(files[at], read_torch_file(files[at]))[2].tobytes())

        drawn = [
            blake2b(coords.tobytes() + flip.tobytes()).digest() if differ_within(coords) else None
            for coords, flip in zip(scan.coords, scan.flip, strict=True)
        ]
        for one, other in pairs_of_same_draws(drawn):
            if label(one) == label(other):
                raise copied(files[one], files[other])

    def _is_of_form(self, label: NDArray[Any] | TensorInfo) -> bool:
        name, floats = self._form.name, label.dtype.kind == "f"
        shapes: dict[str, bool] = {
            "hard": len(label.shape) == 1,
            "smoothing": floats and label.shape[1:] == (2,),
            "marginal": floats and label.shape[1:] == (2, self._form.k),
            "full": floats and label.shape[1:] == (self._num_classes,),
        }
        return shapes[name]

    def _top_k(
        self, file: Path, label: NDArray[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        where = _crop_of(file)
        if self._form.name == "hard":
            ids = checked_ids(label[:, None], self._num_classes, where)
            return ids, np.ones(ids.shape, dtype=np.float32)
        pairs = label.reshape(len(label), 2, -1)
        ids = checked_ids(pairs[:, 0], self._num_classes, where, beside=label)
        return ids, checked_values(pairs[:, 1], self._kind, where)

    def _known_recovery(self, scan: _Scan) -> Recovery | None:
        """The recovery that the values imply; None if both rules give the same labels."""
        if scan.sums_to_one or self._form.name in ("hard", "full"):
            return None
        # FKD has one rule for these.
        if self._form.name == "smoothing" or self._form.k == 10:
            return Recovery.SPREAD
        raise InvalidRequestError(f"these files do not say how labels are recovered: {_RECOVERIES}")

    def _notes(
        self, options: ImportOptions, images: ImageNames | None, hard: NDArray[np.int64] | None
    ) -> list[str]:
        notes = []
        if images is None:
            notes.append("sample IDs number the files in order; --images compares them with images")
        if self._form.name != "hard":
            usual = LabelKind.PROBABILITIES
            notes += notes_on_kind(options, self._kind, usual=usual, format_name=FORMAT)
        if options.recovery is None and self._form.name in ("smoothing", "marginal"):
            notes.append(f"labels are recovered with the rule {self._recovery}")
        if hard is None:
            notes.append("class directories are not the classes of the labels: no hard labels")
        notes.append("crops are taken to be resized bilinearly")
        return notes


def _crop_of(file: Path) -> Callable[[int], str]:
    return lambda row: f"{file}, crop {row}"


def _all_one(totals: NDArray[np.float64]) -> bool:
    return bool((np.abs(totals - 1) <= _SUM_TOLERANCE).all())


def _first_form(file: Path, options: ImportOptions, classes: int) -> tuple[Form, NDArray[Any]]:
    tree = read_torch_file(file)
    _, _, label = three_of(file, tree)
    form, _ = form_of(tree) or (Form("full", None), 0)
    expected = len(options.class_names) if options.class_names is not None else classes
    # Two columns are two classes only if there are two and the first holds no class IDs.
    if form.name == "smoothing" and expected == 2 and (label[:, 0] % 1 != 0).any():
        form = Form("full", None)
    return form, label


def _num_classes(
    path: Path,
    form: Form,
    label: NDArray[Any],
    options: ImportOptions,
    images: ImageNames | None,
    directories: int,
) -> int:
    known = options.class_names or (images.class_names if images is not None else None)
    number = label.shape[1] if form.name == "full" else len(known or ()) or directories
    check_class_names(options, number, path)
    if form.k is not None and form.k > number:
        raise LabelFileError(
            f"{path} has {number} classes, fewer than the {form.k} of a label; give the directory"
            " that holds the class directories, or all class names"
        )
    return number


def _in_order_of(
    images: ImageNames, path: Path, files: list[Path]
) -> tuple[list[Path], NDArray[np.uint64]]:
    keys = [file.relative_to(path).as_posix().rpartition(".")[0] for file in files]
    found = images.sample_ids(keys, path)
    lacking = np.setdiff1d(np.arange(len(images.names)), found)
    if len(lacking):
        raise LabelFileError(
            f"{path} has no label file of {images.names[int(lacking[0])]}, and of {len(lacking)}"
            " images in all; fetch the missing ones, or list the images that were labelled"
        )
    order = np.argsort(found)
    return [files[at] for at in order.tolist()], found[order].astype(np.uint64)


def _known_classes(
    path: Path,
    files: list[Path],
    options: ImportOptions,
    images: ImageNames | None,
    num_classes: int,
) -> tuple[tuple[str, ...] | None, NDArray[np.int64] | None]:
    """Class names and hard labels, if the directories tell them."""
    if images is not None and images.class_names is not None:
        directories = images.class_names
        own = [name.partition("/")[0] for name in images.names]
    else:
        directories = tuple(class_directories(path))
        own = [file.relative_to(path).parts[0] for file in files]
    names = options.class_names or (directories if len(directories) == num_classes else None)
    if names is not None and set(directories) <= set(names):
        numbers = {name: number for number, name in enumerate(names)}
    elif len(directories) == num_classes:
        numbers = {name: number for number, name in enumerate(directories)}
    else:
        return names, None
    return names, np.array([numbers[name] for name in own], dtype=np.int64)
