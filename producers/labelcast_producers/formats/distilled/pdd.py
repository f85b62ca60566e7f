"""PDD (arXiv 2310.06982): distilled sets that grow by stages.

`interval{i}_…/{images_best,labels_best,syn_lr_best}.pt`, or `interval_{i}_data.pt` with the three
in one. Every stage holds the samples of those before it too: in front of the new ones (the MTT
flavour) or between them (the IDC flavour). So samples are known by what they hold, image and
label, and their IDs number them as they first appear; a stage that lacks an earlier sample is
refused.
"""

import hashlib
import itertools
import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelFileError
from labelcast.progress import Progress, unwatched
from labelcast_producers.encoding.write_staged import StageFacts
from labelcast_producers.formats.distilled.companions import (
    IMAGES,
    LABELS,
    RATE,
    is_companion,
    notes_on_companions,
)
from labelcast_producers.formats.distilled.files import (
    DistilledSource,
    Shapes,
    check_shapes,
    checked_labels,
    info_of,
    is_images,
    is_labels,
)
from labelcast_producers.formats.distilled.learning_rates import one_number
from labelcast_producers.formats.shared.counting import counted
from labelcast_producers.formats.shared.stamps import Stamps, changed
from labelcast_producers.formats.source import Finding, Importer, ImportOptions, Part
from labelcast_producers.torchfile import TensorInfo, read_torch_file, read_torch_structure

FORMAT = "pdd"
_FOLDER = re.compile(r"interval_?(0|[1-9][0-9]{0,5})(?:_.*)?")
_FILE = re.compile(r"interval_(0|[1-9][0-9]{0,5})_data\.pt")


@dataclass(frozen=True, slots=True)
class _Stage:
    """The files of a stage.

    Attributes:
        number: number in its name.
        labels, images, rate: paths of the files; the same path three times if all is in one; None
            if there is no learning rate.
    """

    number: int
    labels: Path
    images: Path
    rate: Path | None

    @property
    def is_flat(self) -> bool:
        """Whether one file holds everything."""
        return self.labels == self.images


class PddImporter(Importer):
    """Importer of a directory of stages."""

    name = FORMAT

    def detect(self, path: Path) -> Finding | None:
        """See `Importer.detect`."""
        stages, foreign = _stages(path)
        if not stages:
            return None
        shapes = [_shapes(stage) for stage in stages]
        if shapes[0] is None:
            return None
        sizes = [each.labels[1][0] for each in shapes if each is not None]
        return Finding(
            format=FORMAT,
            title="PDD: distilled set in stages, each with the samples of those before",
            inside={
                "stages": [stage.number for stage in stages],
                "samples": sizes,
                "layout": "files" if stages[0].is_flat else "directories",
            },
            missing=("epochs of each stage",),
            foreign=foreign,
        )

    def open(
        self, path: Path, options: ImportOptions, *, progress: Progress = unwatched
    ) -> DistilledSource:
        """See `Importer.open`; compares labels and images of all stages on the way."""
        stages, foreign = _stages(path)
        if foreign:
            raise LabelFileError(f"{path}: {foreign[0]} is no stage of PDD's; move it away")
        if not stages:
            raise LabelFileError(f"{path} has no interval1_… and no interval_1_data.pt")
        _check_numbers(path, stages)
        facts, parts = [], []
        rows_by_file: dict[Path, NDArray[np.int64]] = {}
        earlier: list[bytes] = []
        stamps = Stamps()
        for stage in counted(stages, progress):
            stamps.note(stage.labels)
            labels, images, rate = _content(stage)
            digests = _digests(labels, images)
            rows = _rows_by_sample(stage, earlier, digests)
            rows_by_file[stage.labels] = rows
            new = np.arange(len(earlier), len(digests), dtype=np.int64)
            facts.append(
                StageFacts(
                    name=f"interval {stage.number}",
                    sample_ids=new.astype(np.uint64),
                    learning_rate=rate,
                )
            )
            parts.append(Part(stage.labels, new))
            earlier = [digests[row] for row in rows.tolist()]

        def load(file: Path) -> NDArray[Any]:
            """Labels of a stage by sample ID, wherever its file has them."""
            loaded, rows = _load_labels(file), rows_by_file[file]
            if len(loaded) != len(rows):
                raise changed(file)
            by_sample: NDArray[Any] = loaded[rows]
            return by_sample

        return DistilledSource(
            parts,
            load,
            options,
            stamps=stamps,
            format_name=FORMAT,
            notes=[
                f"{len(stages)} stages; each adds to the samples of those before",
                *notes_on_companions(_all_names(path)),
            ],
            stages=tuple(facts),
        )


def _stages(path: Path) -> tuple[list[_Stage], tuple[str, ...]]:
    """Stages by number, and names of everything that belongs to none."""
    if not path.is_dir():
        return [], ()
    stages: list[_Stage] = []
    foreign: list[str] = []
    for entry in sorted(path.iterdir()):
        file, folder = _FILE.fullmatch(entry.name), _FOLDER.fullmatch(entry.name)
        if file is not None and entry.is_file():
            stages.append(_Stage(int(file[1]), entry, entry, entry))
        elif folder is not None and any((entry / name).is_file() for name in (LABELS, IMAGES)):
            rate = entry / RATE
            stages.append(
                _Stage(
                    int(folder[1]),
                    entry / LABELS,
                    entry / IMAGES,
                    rate if rate.is_file() else None,
                )
            )
            known = {LABELS, IMAGES, RATE}
            foreign += [
                f"{entry.name}/{name}"
                for name in _names(entry)
                if name not in known and not is_companion(name)
            ]
        elif not is_companion(entry.name):
            foreign.append(entry.name)
    return sorted(stages, key=lambda stage: stage.number), tuple(foreign)


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _all_names(path: Path) -> Iterator[str]:
    for entry in sorted(path.iterdir()):
        yield from [f"{entry.name}/{n}" for n in _names(entry)] if entry.is_dir() else [entry.name]


def _check_numbers(path: Path, stages: Sequence[_Stage]) -> None:
    numbers = [stage.number for stage in stages]
    for before, after in itertools.pairwise(numbers):
        if before == after:
            raise LabelFileError(f"{path} has stage {after} twice; move one away")
        if after != before + 1:
            raise LabelFileError(
                f"{path} lacks stage {before + 1} of {numbers[0]} to {numbers[-1]}; fetch it, or"
                " move the later ones away"
            )


def _shapes(stage: _Stage) -> Shapes | None:
    if not stage.is_flat:
        for file in (stage.labels, stage.images):
            if not file.is_file():
                raise LabelFileError(f"{file} is missing; fetch it")
        shapes = Shapes(
            info_of(stage.labels, read_torch_structure(stage.labels)),
            info_of(stage.images, read_torch_structure(stage.images)),
        )
        check_shapes(stage.labels, shapes)
        return shapes
    found = _named(read_torch_structure(stage.labels))
    if found is None:
        return None
    labels, images, _ = found
    return Shapes((labels.dtype, labels.shape), (images.dtype, images.shape))


def _named(tree: Any) -> tuple[Any, Any, Any] | None:
    """Labels, images and learning rate of one file, told apart by types and shapes."""
    if isinstance(tree, Mapping):
        values = list(tree.values())
    elif isinstance(tree, list | tuple):
        values = list(tree)
    else:
        return None
    arrays = [each for each in values if isinstance(each, TensorInfo | np.ndarray)]
    # Images have more axes than any labels.
    images = [each for each in arrays if is_images(each.dtype, each.shape) and len(each.shape) > 2]
    labels = [each for each in arrays if is_labels(each.dtype, each.shape) and each.shape != (1,)]
    rates = [each for each in values if _is_number(each)]
    if len(images) != 1 or len(labels) != 1 or len(rates) > 1:
        return None
    if images[0].shape[0] != labels[0].shape[0]:
        return None
    return labels[0], images[0], rates[0] if rates else None


def _is_number(each: Any) -> bool:
    if isinstance(each, TensorInfo | np.ndarray):
        return each.shape in ((), (1,)) and each.dtype.kind == "f"
    return isinstance(each, float | np.floating)


def _content(stage: _Stage) -> tuple[NDArray[Any], NDArray[Any], float | None]:
    """Labels, images and learning rate of a stage."""
    if stage.is_flat:
        found = _named(read_torch_file(stage.labels))
        if found is None:
            raise LabelFileError(
                f"{stage.labels} does not hold as many labels as images and one learning rate;"
                " write it again"
            )
        labels, images, rate = found
        labels = checked_labels(stage.labels, labels)
    else:
        _shapes(stage)
        labels, images = _load_labels(stage.labels), read_torch_file(stage.images)
        rate = None if stage.rate is None else read_torch_file(stage.rate)
    if rate is None:
        return labels, images, None
    advice = "write it again" if stage.is_flat else "move it away"
    return labels, images, one_number(stage.rate or stage.labels, rate, advice=advice)


def _digests(labels: NDArray[Any], images: NDArray[Any]) -> list[bytes]:
    """One of each sample, over its label and image."""

    def each() -> Iterator[bytes]:
        for label, image in zip(labels, images, strict=True):
            hasher = hashlib.sha256(f"{label.dtype} {image.dtype} {image.shape}".encode())
            hasher.update(np.ascontiguousarray(label).tobytes())
            hasher.update(np.ascontiguousarray(image).tobytes())
            yield hasher.digest()

    return list(each())


def _rows_by_sample(
    stage: _Stage, earlier: Sequence[bytes], digests: Sequence[bytes]
) -> NDArray[np.int64]:
    """The row of each sample in a stage: earlier ones by ID, then the new ones as they come.

    Args:
        stage: for messages.
        earlier: digests of the samples so far, by ID.
        digests: of the rows of this stage.
    """
    if len(digests) <= len(earlier):
        raise LabelFileError(
            f"{stage.labels} has {len(digests)} samples, which is no more than the stage before it;"
            " a stage holds those before it and new ones"
        )
    # Of equal samples, the first is the earliest.
    rows_of: dict[bytes, deque[int]] = defaultdict(deque)
    for row, digest in enumerate(digests):
        rows_of[digest].append(row)
    rows = []
    for sample, digest in enumerate(earlier):
        if not rows_of[digest]:
            raise LabelFileError(
                f"{stage.labels} lacks sample {sample} of the stages before it: no row has its"
                " image and label; write stages that keep all earlier samples as they are"
            )
        rows.append(rows_of[digest].popleft())
    new = sorted(set(range(len(digests))).difference(rows))
    return np.array([*rows, *new], dtype=np.int64)


def _load_labels(path: Path) -> NDArray[Any]:
    tree = read_torch_file(path)
    found = _named(tree)
    return checked_labels(path, tree if found is None else found[0])
