"""What every importer returns: a scanned source whose labels are read part by part.

A source is opened in two steps. *Scanning* reads and checks everything small (shapes, augmentation,
IDs) of every file, so that a bad file is named before anything is written. *Reading* returns the
labels of one part (usually one file) at a time, in memory for that part.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import (
    ForeignPolicy,
    PositionPolicy,
    RecordedPolicy,
    RecordedViews,
)
from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError
from labelcast.label_set import SampleOrder, SegmentIndex
from labelcast.progress import Progress, unwatched
from labelcast.torch.images.image_folder import ImageFolder
from labelcast_producers.encoding.write_staged import StageFacts

# Pixels a side of the views of most producers, which say none.
USUAL_VIEW_SIZE = 224


@dataclass(frozen=True, slots=True)
class TopK:
    """Labels that hold k classes each.

    Attributes:
        k: classes per label.
        recovery: what the other classes get.
    """

    k: int
    recovery: Recovery


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """Everything that is known about a source without reading its labels.

    Attributes:
        format: name of the importer, such as "sre2l".
        num_classes: number of classes, C.
        label_kind: logits or probabilities.
        temperature: softmax temperature of probabilities; None for logits.
        top_k: number of kept classes and their recovery; None if labels are dense.
        index: samples, seeds, row order and which rows exist.
        hard_labels: int64, shape (S,), in the order of `index.sample_ids`; None if unknown.
        policy: recorded views, token positions, views that are described too little to be made
            again, or None for samples without augmentation.
        order: where the sample IDs come from.
        view_size_told_by: what in the files tells the size of views; empty where it is given or
            assumed.
        stages: stages of a staged set, else empty; they share `index.seeds`.
        class_names: class names in order; None if unknown.
        notes: one line each on what is missing or was assumed, for people.
        doubts: notes on the sample IDs; a teacher that confirms their order settles them.
    """

    format: str
    num_classes: int
    label_kind: LabelKind
    temperature: float | None
    top_k: TopK | None
    index: SegmentIndex
    hard_labels: NDArray[np.int64] | None
    policy: RecordedPolicy | PositionPolicy | ForeignPolicy | None
    order: SampleOrder
    view_size_told_by: str = ""
    stages: tuple[StageFacts, ...] = ()
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Labels that are read together.

    Attributes:
        path: path of the file.
        rows: int64, shape (n,): row numbers in `SourceFacts.index`, in the order of the labels.
        at: place in the file, for messages; "" for the whole file.
    """

    path: Path
    rows: NDArray[np.int64]
    at: str = ""


class Source(ABC):
    """Scanned labels of another project.

    Implementations MUST:
      * have checked shapes, dtypes, class counts, index ranges and record ranges of every part
        before returning it, and name file and position in every error;
      * order `parts` so that the seeds (seed-major) or samples (sample-major) of their rows never
        fall: rows within one seed may come in any order and over several parts;
      * cover every row of the index exactly once;
      * read one part at a time, and keep none.
    """

    facts: SourceFacts
    parts: Sequence[Part]

    def require_order(self) -> str | None:
        """Refuse sample IDs that were derived and that the labels themselves contradict.

        Reads some of the labels; does nothing where files name their samples.

        Returns:
            One line, for people, where the labels neither contradict nor confirm derived IDs.

        Raises:
            LabelFileError: names the file that is missing.
            InvalidRequestError: names the option that was assumed wrongly.
        """
        return None

    @abstractmethod
    def records(self) -> RecordedViews | None:
        """Records of all rows, in row order; None unless the policy is a `RecordedPolicy`."""

    @abstractmethod
    def read(self, part: Part) -> NDArray[Any]:
        """Read the labels of one part.

        Returns:
            float16 or float32, shape (n, C), in the order of `part.rows`; top-k labels are
            recovered to all classes (missing classes of top-k logits are `MISSING_LOGIT`).

        Raises:
            LabelFileError: the file changed since it was scanned, or is damaged.
            LabelValueError: NaN, infinity, or no distribution; names file and position.
        """


class PermutationDraws(StrEnum):
    """How many permutations torch's RandomSampler drew per epoch: newer ones draw a second."""

    AUTO = "auto"
    ONE = "one"
    TWO = "two"

    @property
    def doubt(self) -> str:
        """What is to be said of an order that is drawn again and that no teacher confirmed."""
        if self is PermutationDraws.AUTO:
            return (
                "assumed a torch that draws two permutations an epoch, as recent ones do, which no"
                " teacher confirmed (--verify-with)"
            )
        return "no teacher confirmed the order of the samples, which is drawn again (--verify-with)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What a user says about files that do not say it themselves.

    Attributes:
        images: root of an ImageFolder, whose sorted order the producer's sampler permuted.
        image_list: text file, one path per line, in that order, instead of sorting.
        channels: colour channels that students read: 3, or 1 for grey; the data set's digest covers
            pixels.
        num_samples: number of samples, if there are no images at hand.
        draws: permutations per epoch that the producer's torch drew.
        sampler_seed: seed of the producer's RandomSampler.
        label_kind: kind of plain arrays, or of files that hold another kind than is usual for their
            layout.
        temperature: softmax temperature of probabilities in files that do not say it.
        recovery: recovery of top-k labels in files that do not say it.
        view_size: pixels per side of the producer's views; None takes what the files tell, else
            224 unless images speak against it.
        class_names: class names in order.
        apply_patches: replay the patch orders of EDC's files. Its published code draws and stores
            them, but then puts the patches back in their old order.

    Raises:
        InvalidRequestError: an option is out of its range; says which.
    """

    images: Path | None = None
    image_list: Path | None = None
    channels: int = 3
    num_samples: int | None = None
    draws: PermutationDraws = PermutationDraws.AUTO
    sampler_seed: int = 42
    label_kind: LabelKind | None = None
    temperature: float | None = None
    recovery: Recovery | None = None
    view_size: int | None = None
    class_names: tuple[str, ...] | None = None
    apply_patches: bool = False

    def __post_init__(self) -> None:
        # Written so that NaN fails.
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise InvalidRequestError(
                f"--temperature is {self.temperature}, must be a number above 0"
            )
        if self.draws not in set(PermutationDraws):
            raise InvalidRequestError(f"--draws is {self.draws!r}, must be auto, one or two")
        for option, value, least, most in (
            ("--samples", self.num_samples, 1, math.inf),
            ("--sampler-seed", self.sampler_seed, 0, 2**63 - 1),
            ("--view-size", self.view_size, 1, math.inf),
        ):
            if value is not None and not least <= value <= most:
                bounds = f"at least {least}" if most == math.inf else f"{least} to {most}"
                raise InvalidRequestError(f"{option} is {value}, must be {bounds}")

    @property
    def view_pixels(self) -> int:
        """Pixels per side of the producer's views, as given or assumed."""
        return USUAL_VIEW_SIZE if self.view_size is None else self.view_size

    def temperature_of(self, kind: LabelKind) -> float | None:
        """Of labels of a kind: logits have none, probabilities 1 unless said otherwise."""
        return None if kind is LabelKind.LOGITS else self.temperature or 1.0

    def image_folder(self) -> ImageFolder:
        """Open the images.

        Raises:
            InvalidRequestError: there are none, or the folder is unusable.
        """
        if self.images is None:
            raise InvalidRequestError("say where the images are, with --images")
        return ImageFolder(self.images, image_list=self.image_list, channels=self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a detector found, before anything is read in full; `inspect` shows it.

    Attributes:
        format: name of the importer.
        title: one line, such as "SRe2L / CDA / CV-DD: logits by epoch and batch, CutMix".
        inside: facts by name, JSON values: counts, shapes, dtypes.
        missing: one line each on what the files do not say and which option says it.
        foreign: files that belong to no known layout; importing refuses them.
    """

    format: str
    title: str
    inside: dict[str, Any] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


class Importer(ABC):
    """Reads one format of another project."""

    name: str

    @abstractmethod
    def detect(self, path: Path) -> Finding | None:
        """Recognise the format by types and shapes, reading as little as possible.

        Returns:
            None if the files have another format; a file of another format is never an error.

        Raises:
            LabelFileError: it is this format, and unusable: names file and position.
        """

    @abstractmethod
    def open(self, path: Path, options: ImportOptions, *, progress: Progress = unwatched) -> Source:
        """Scan everything but the labels.

        Args:
            path: file or directory.
            options: of the user.
            progress: counts files.

        Raises:
            LabelFileError: a file is wrong; names file and position, and says what to do.
            InvalidRequestError: an option is missing or contradicts the files.
        """
