"""Apple's reinforced data sets (arXiv 2303.08983): one file per image.

`{id}.pth.tar` is `(id, [{"params": …, "prob": (probabilities, class IDs)}, …])`; the ID is the
image's place in the data set. Parameters name the transforms that were applied, in order; or are
a bare list of them (`compress: true`), whose names and order `config.pth.tar` beside them has.

Rules:
  * views that were only cropped and flipped become recorded views; their crops are in pixels, so
    the images are needed;
  * any other transform (Apple's draw colours *after* the crop, and mix with views that are stored
    nowhere) cannot be replayed: such sets are refused, as labels without their views would be
    taken for labels of the plain images.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelcast.augmentation import ForeignPolicy, RecordedPolicy, RecordedViews
from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import SampleOrder
from labelcast.progress import Progress, unwatched
from labelcast_producers.formats.per_image.ml_dr_views import Augmentation, View, view_of
from labelcast_producers.formats.shared.consecutive_parts import ConsecutiveParts, RowRange
from labelcast_producers.formats.shared.counting import counted
from labelcast_producers.formats.shared.image_names import (
    ImageNames,
    check_class_names,
    ragged_index,
)
from labelcast_producers.formats.shared.meaning import notes_on_kind
from labelcast_producers.formats.shared.stamps import Stamps, changed
from labelcast_producers.formats.shared.top_k import (
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

FORMAT = "ml-dr"
_NAME = re.compile(r"(0|[1-9][0-9]{0,17})\.pth\.tar")
_CONFIG = "config.pth.tar"
_TRIED = 5
_WHOLE = 2**62
_RECOVERY = (
    "--recovery: what classes that are not among the k get (the producer's `densify` decided that"
    " in training: spread is its `smooth`)"
)


class MlDrImporter(Importer):
    """Importer of a directory of `{id}.pth.tar`."""

    name = FORMAT

    def detect(self, path: Path) -> Finding | None:
        """See `Importer.detect`."""
        files, foreign = _files(path)
        for file in files[:_TRIED]:
            try:
                tree = read_torch_structure(file)
            except LabelFileError:
                continue
            if _is_ours(tree):
                break
        else:
            return None
        views = tree[1]
        _, ids = views[0]["prob"]
        obstacle = view_of(views[0]["params"], _augmentation(path)).obstacle
        missing = [_RECOVERY, "--temperature: of the teacher's softmax; 1 if it is left out"]
        if obstacle:
            missing.append(f"views cannot be drawn again: {obstacle}")
        else:
            missing.append("--images: sizes of the images, as crops are in pixels")
        return Finding(
            format=FORMAT,
            title="Apple ml-dr: top-k probabilities of augmented views, one file an image",
            inside={"images": len(files), "views_per_image": len(views), "k": _length(ids)},
            missing=tuple(missing),
            foreign=foreign,
        )

    def open(
        self, path: Path, options: ImportOptions, *, progress: Progress = unwatched
    ) -> "MlDrSource":
        """See `Importer.open`; every label is read and checked on the way.

        Raises:
            InvalidRequestError: an option is missing, or views cannot be drawn again.
            LabelValueError: the labels are no probabilities.
        """
        files, foreign = _files(path)
        if foreign:
            raise LabelFileError(f"{path}: {foreign[0]} is no label of ml-dr's; move it away")
        if not files:
            raise LabelFileError(f"{path} holds no files called like 12.pth.tar")
        kind = options.label_kind or LabelKind.PROBABILITIES
        recovery = top_k_recovery(options.recovery, kind)
        if recovery is None:
            raise InvalidRequestError(
                f"these files do not say how labels are recovered: {_RECOVERY}"
            )
        return MlDrSource(path, files, options, recovery, progress)


class MlDrSource(Source):
    """Scanned label files.

    Args:
        path: directory of the files.
        files: label files, by rising ID.
        options: options of the user.
        recovery: what the classes outside the k get.
    """

    def __init__(
        self,
        path: Path,
        files: list[Path],
        options: ImportOptions,
        recovery: Recovery,
        progress: Progress = unwatched,
    ) -> None:
        images = ImageNames.of(options)
        ids = [int(file.name.partition(".")[0]) for file in files]
        if images is not None and ids[-1] >= len(images.names):
            raise LabelFileError(
                f"{files[-1]} is of image {ids[-1]}, but there are {len(images.names)}; give the"
                " images that were labelled"
            )
        self._recovery = recovery
        self._kind = options.label_kind or LabelKind.PROBABILITIES
        names = options.class_names or (images.class_names if images is not None else None)
        self._num_classes = _num_classes(path, names)
        check_class_names(options, self._num_classes, path)
        self._augmentation = _augmentation(path)
        self._stamps = Stamps()
        scanned = [self._scan(file) for file in counted(files, progress)]
        counts = np.array([len(views) for views, _ in scanned], dtype=np.int64)
        widths = np.array([k for _, k in scanned])
        if (widths != widths[0]).any():
            other = files[int(np.argmax(widths != widths[0]))]
            raise LabelFileError(f"{other} keeps another number of classes than {files[0]}")
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        obstacle = _first_obstacle(files, [views for views, _ in scanned])
        if not obstacle and (images is None or images.root is None):
            obstacle = f"{path}: crops are in pixels of images that were not given (--images)"
        self._policy: RecordedPolicy | None = None
        told_by = ""
        if not obstacle and images is not None:
            said = None if self._augmentation is None else self._augmentation.view_size
            size = options.view_size or said
            if size is None:
                # The images are at hand, so crops need not tell their size.
                size = assumed_view_size(images.root, images.names, np.ones((0, 4)))
            if said not in {None, size}:
                raise InvalidRequestError(
                    f"{path / _CONFIG} says that views have {said} pixels a side, not {size}; give"
                    f" --view-size {said}"
                )
            self._policy = RecordedPolicy(view_height=size, view_width=size)
            pairs = zip(files, ids, scanned, strict=True)
            self._crop = np.concatenate(
                [_fractions(file, views, images, at) for file, at, (views, _) in pairs]
            )
            self._flip = np.array([view.flip for views, _ in scanned for view in views])
            if said is not None and options.view_size is None:
                told_by = str(path / _CONFIG)
        sample_ids = np.array(ids, dtype=np.uint64)
        hard = None
        if images is not None and images.hard_labels is not None:
            same = len(images.class_names or ()) == self._num_classes
            hard = images.hard_labels[ids] if same else None
        self.facts = SourceFacts(
            format=FORMAT,
            num_classes=self._num_classes,
            label_kind=self._kind,
            temperature=options.temperature_of(self._kind),
            top_k=TopK(int(widths[0]), recovery),
            index=ragged_index(sample_ids, counts),
            hard_labels=hard,
            policy=self._policy or ForeignPolicy(),
            order=SampleOrder.GIVEN,
            view_size_told_by=told_by,
            class_names=names,
            notes=tuple(_notes(options, obstacle)),
        )
        self.parts = ConsecutiveParts(
            [
                RowRange(file, int(start), int(stop))
                for file, start, stop in zip(files, starts, starts[1:], strict=False)
            ],
            _WHOLE,
        )

    def records(self) -> RecordedViews | None:
        """See `Source.records`."""
        if self._policy is None:
            return None
        views = self.facts.index.views()
        plain = RecordedViews.plain(views.sample_ids, views.seeds, self._policy)
        return replace(plain, crop=self._crop, flip=self._flip)

    def read(self, part: Part) -> NDArray[np.float32]:
        """See `Source.read`."""
        ids, values = self.read_top_k(part)
        return recovered(ids, values, self._num_classes, self._recovery, self._kind)

    def read_top_k(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Read classes and probabilities of a part: int64 and float32, shape (n, k)."""
        top_k = self.facts.top_k
        with self._stamps.unchanged(part.path):
            ids, values = self._top_k(part.path, _views(part.path, read_torch_file(part.path)))
        if top_k is None or ids.shape != (len(part.rows), top_k.k):
            raise changed(part.path)
        return ids, values

    def _scan(self, file: Path) -> tuple[list[View], int]:
        self._stamps.note(file)
        views = _views(file, read_torch_file(file))
        ids, _ = self._top_k(file, views)
        return [view_of(view["params"], self._augmentation) for view in views], ids.shape[1]

    def _top_k(
        self, file: Path, views: Sequence[Any]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        def where(row: int) -> str:
            return f"{file}, view {row}"

        pairs = [_numbers(view["prob"], where(row)) for row, view in enumerate(views)]
        if len({ids.shape for _, ids in pairs}) > 1:
            raise LabelFileError(f"{file}: views keep different numbers of classes; write it again")
        ids = checked_ids(np.stack([ids for _, ids in pairs]), self._num_classes, where)
        return ids, checked_values(np.stack([values for values, _ in pairs]), self._kind, where)


def _files(path: Path) -> tuple[list[Path], tuple[str, ...]]:
    if not path.is_dir():
        return [], ()
    entries = sorted(path.iterdir())
    files = [entry for entry in entries if _NAME.fullmatch(entry.name)]
    foreign = [each.name for each in entries if not _NAME.fullmatch(each.name)]
    files.sort(key=lambda file: int(file.name.partition(".")[0]))
    return files, tuple(name for name in foreign if name != _CONFIG)


def _is_ours(tree: Any) -> bool:
    if not isinstance(tree, list | tuple) or len(tree) != 2:
        return False
    number, views = tree
    if not isinstance(number, int | np.integer) or not isinstance(views, list | tuple):
        return False
    return bool(views) and all(
        isinstance(view, dict)
        and {"params", "prob"} <= view.keys()
        and isinstance(view["prob"], list | tuple)
        and len(view["prob"]) == 2
        and all(isinstance(each, list | tuple | TensorInfo | np.ndarray) for each in view["prob"])
        for view in views
    )


def _views(file: Path, tree: Any) -> Sequence[Any]:
    if not _is_ours(tree):
        raise LabelFileError(
            f"{file} is not (ID, views with params and prob) as ml-dr writes it; write it again, or"
            " move it away"
        )
    number, views = tree
    if f"{int(number)}.pth.tar" != file.name:
        raise LabelFileError(f"{file} is of image {int(number)} by what is in it; name it after it")
    found: Sequence[Any] = views
    return found


def _numbers(prob: Any, where: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Take probabilities and class IDs of one view, shape (k,) each."""
    try:
        values, ids = (np.asarray(each) for each in prob)
    except ValueError:
        values, ids = np.zeros(0), np.zeros(0)
    numeric = values.dtype.kind == "f" and ids.dtype.kind in "iuf"
    if values.ndim != 1 or values.shape != ids.shape or not len(values) or not numeric:
        raise LabelFileError(
            f"{where}: prob is not (k probabilities, k class IDs), but of the shapes {values.shape}"
            f" and {ids.shape}; write it again"
        )
    return values, ids


def _length(each: Any) -> int:
    return int(each.shape[0]) if isinstance(each, TensorInfo | np.ndarray) else len(each)


def _first_obstacle(files: list[Path], scanned: list[list[View]]) -> str:
    for file, views in zip(files, scanned, strict=True):
        for number, view in enumerate(views):
            if view.crop is None:
                return f"{file}, view {number}: {view.obstacle}"
    return ""


def _fractions(file: Path, views: list[View], images: ImageNames, at: int) -> NDArray[np.float64]:
    """Crops as fractions of the image, shape (n, 4)."""
    image = (images.root or Path()) / images.names[at]
    try:
        with Image.open(image) as opened:
            width, height = opened.size
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise LabelFileError(f"{image} cannot be read as an image: {error}; replace it") from None
    crops = np.array([view.crop for view in views], dtype=np.float64)
    start, extent = crops[:, :2], crops[:, 2:]
    # Written so that NaN fails.
    good = ((start >= 0) & (extent > 0) & (start + extent <= [height, width])).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise LabelFileError(
            f"{file}, view {row}: the crop {crops[row].tolist()} is not within {image}, which is"
            f" {height} × {width}; are these the images that were labelled, in their order?"
        )
    fractions: NDArray[np.float64] = crops / [height, width, height, width]
    return fractions


def _num_classes(path: Path, names: tuple[str, ...] | None) -> int:
    if names is not None:
        return len(names)
    config = path / _CONFIG
    if config.is_file():
        tree = read_torch_file(config)
        found = tree.get("num_classes") if isinstance(tree, dict) else None
        if isinstance(found, int) and found > 0:
            return found
    raise InvalidRequestError(
        f"{path} does not say how many classes there are; give --class-names or --images, or put"
        f" {_CONFIG} with num_classes beside the labels"
    )


def _augmentation(path: Path) -> Augmentation | None:
    """What names compressed parameters; None where it is not there."""
    config = path / _CONFIG
    return Augmentation.of(read_torch_file(config)) if config.is_file() else None


def _notes(options: ImportOptions, obstacle: str) -> list[str]:
    notes = ["sample IDs are those of the files: places in the producer's data set"]
    if obstacle:
        notes.append(f"labels are served, views are not: {obstacle}")
    kind = options.label_kind or LabelKind.PROBABILITIES
    notes += notes_on_kind(options, kind, usual=LabelKind.PROBABILITIES, format_name=FORMAT)
    return notes
