"""A label set in use: the same from a directory and from a service."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.augmentation import ViewPolicy
from labelcast.codec import Codec, Labels
from labelcast.codec.label_decoder import LabelDecoder
from labelcast.context.view_context import ViewContext
from labelcast.errors import InvalidRequestError
from labelcast.label_set import (
    BlobRef,
    LabelContract,
    Manifest,
    MissingViews,
    StageGrid,
    StoredViews,
    ViewIndex,
    stage_grid,
    stage_views,
)
from labelcast.label_set.control_views import ControlViews
from labelcast.label_set.fingerprints import SampleFingerprints
from labelcast.label_set.student_side import UNCHECKED, Unchecked
from labelcast.label_set.view_records import ViewRecords
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.drawn_views import DrawnViews, draw_views
from labelcast.opening.drivers import run
from labelcast.opening.label_reader import LabelReader
from labelcast.opening.loops.loop_reader import LoopReader
from labelcast.opening.loops.read_labels import OnMiss
from labelcast.opening.parts_from_blobs import (
    open_codec,
    open_context,
    open_control_views,
    open_fingerprints,
    open_index,
    open_records,
    open_report,
    open_sites,
)
from labelcast.opening.pending_labels import LocalLabels, PendingLabels
from labelcast.opening.sites import check_not_for_sites, for_sites, read_site_file
from labelcast.representation import Representation
from labelcast.views import Views


class LabelSetFacts:
    """The contents of the manifest.

    Args:
        manifest: manifest, verified against the requested digest.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.digest = manifest.digest

    @property
    def contract(self) -> LabelContract:
        """The meaning of the labels."""
        return self.manifest.contract

    @property
    def code_stride(self) -> int:
        """Bytes of one view's codes."""
        return self.manifest.segments[0].codes.stride

    @property
    def has_records(self) -> bool:
        """Whether its views were recorded, rather than drawn from seeds."""
        return any(segment.augmentation is not None for segment in self.manifest.segments)

    def __len__(self) -> int:
        """Number of labels."""
        return sum(segment.codes.rows for segment in self.manifest.segments)

    def __repr__(self) -> str:
        contract = self.contract
        return (
            f"<{type(self).__name__} {self.digest[:19]}…: {len(self):,} labels of"
            f" {contract.num_classes} classes by {contract.teacher_name}>"
        )


def check_opened(value: object) -> None:
    """Refuse what is no label set, such as its tag.

    Raises:
        InvalidRequestError: says how to open one.
    """
    if not isinstance(value, LabelSetFacts):
        raise InvalidRequestError(
            f"labels are asked of an opened label set, not of {type(value).__name__}"
            f" {value!r:.80}; open it first, with client.open(tag) or labelcast.open(directory)"
        )


class LabelSet(LabelSetFacts, ABC):
    """A label set in use.

    Its parts are read at first use, verified, and kept; a pickled label set keeps none of them.
    """

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._report: dict[str, Any] | None = None
        self._artifact: bytes | None = None
        self._codec: Codec | None = None
        self._index: ViewIndex | None = None
        self._context: ViewContext | None = None
        self._records: ViewRecords | None = None
        self._fingerprints: SampleFingerprints | None = None
        self._control_views: ControlViews | None = None

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_artifact", "_codec", "_index", "_context", "_records", "_fingerprints")
        return self.__dict__ | dict.fromkeys((*kept, "_control_views"))

    @abstractmethod
    def read_blob(self, ref: BlobRef) -> bytes:
        """Read a blob that the manifest names, and verify it.

        Raises:
            BlobNotFoundError, DigestMismatchError: it is missing or damaged.
        """

    @abstractmethod
    def stream(
        self, batches: Iterable[Views], representation: Representation
    ) -> Iterator[DeliveredLabels]:
        """Read the labels of many batches, in order.

        Args:
            batches: batches of views, read lazily.
            representation: form of the labels.

        Raises:
            ViewNotFoundError: a view that the label set lacks.
            UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
        """

    def ask(self, views: Views, representation: Representation) -> PendingLabels:
        """Ask for one batch and return at once: from a service it comes meanwhile.

        Raises:
            UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
        """
        return LocalLabels(lambda: next(iter(self.stream([views], representation))))

    def rows_ahead(self, representation: Representation) -> int:
        """Number of labels to ask for ahead; 1 where labels are at hand."""
        return 1

    def count_missed(self, reason: str, rows: int) -> None:
        """Be told that a loop went on without so many labels, for whoever counts."""

    @abstractmethod
    def resolve(self, views: Views, missing: MissingViews) -> tuple[Views, NDArray[np.int64]]:
        """Find stored views, if not every view is stored; see `labelcast.label_set.MissingViews`.

        `resolve(Views.of(sample_ids, draw), MissingViews.DRAW_ALL)` gives a stored view of each
        sample, as label pruning (LPLD) trains.

        Returns:
            The views, and which rows of the request they answer: int64, increasing.

        Raises:
            ViewNotFoundError: a view is refused, or a sample has no stored view.
        """

    def labels(self, sample_ids: ArrayLike, seeds: ArrayLike) -> Labels:
        """Read labels by sample and augmentation seed, decoded here.

        Args:
            sample_ids: integers, shape (N,).
            seeds: integers, shape (N,), or one for all.

        Returns:
            float32, shape (N, C): logits or probabilities, as the contract says.

        Raises:
            InvalidRequestError: there are no views, or values that are no IDs and seeds.
            ViewNotFoundError: a view that the label set lacks.
        """
        # A caller that names a seed means that view, however it is rendered.
        soft: Labels = self.reader(policy=self.contract.policy)(Views.of(sample_ids, seeds))
        return soft

    def views(self, sample_ids: ArrayLike, seeds: ArrayLike) -> DrawnViews:
        """Draw how views are made (crop, flip, partner), for your own rendering.

        Args:
            sample_ids: integers, shape (N,).
            seeds: integers, shape (N,), or one for all.

        Raises:
            ViewNotFoundError: a view or a sample that the label set lacks.
        """
        return draw_views(
            self.digest,
            self.contract.policy,
            Views.of(sample_ids, seeds),
            self.index(),
            self.records(),
        )

    def reader(
        self,
        representation: Representation | None = None,
        *,
        device: str | None = None,
        policy: ViewPolicy | Unchecked | None = UNCHECKED,
    ) -> LabelReader:
        """Make a reader of labels for a training loop that renders its own images.

        A reader is never shown an image, so it compares none: read images through
        `labelcast.torch.ComparedDataset`, or compare them with `fingerprints`.

        Args:
            representation: codes, which are decoded here, by default; or dense labels.
            device: torch device that decodes and gets the labels; None for numpy arrays.
            policy: policy that the loop renders by, compared with the label set's; without it the
                reader takes views only from `views`.

        Raises:
            ContractMismatchError: the loop renders by another policy.
            UnsupportedFormError: the labels do not come in that form.
        """
        form = Representation.codes() if representation is None else representation
        if device is None:
            return LabelReader(self, form, policy=policy)
        # Nothing below labelcast.torch imports torch, so that it stays optional.
        torch_reader: Any = import_module("labelcast.torch.label_reader")
        read: LabelReader = torch_reader.TorchLabelReader(self, form, policy=policy, device=device)
        return read

    def loop_reader(
        self,
        representation: Representation | None = None,
        *,
        device: str | None = None,
        policy: ViewPolicy | Unchecked | None = UNCHECKED,
        on_miss: OnMiss = OnMiss.WAIT,
        miss_seconds: float = 10.0,
        miss_not_stored: bool = False,
        hard_labels: tuple[ArrayLike, ArrayLike] | None = None,
        in_flight: int = 1,
    ) -> LoopReader:
        """Make a reader that asks ahead, and may go on where labels are missing.

        Args:
            representation: see `reader`.
            device: see `reader`.
            policy: see `reader`.
            on_miss: see `LoopReader`, as all that follow.
            miss_seconds: how long a batch is waited for.
            miss_not_stored: whether views that are not stored are missed.
            hard_labels: sample IDs and their classes.
            in_flight: batches that may be asked for at one time.

        Raises:
            As `reader` and `LoopReader`.
        """
        form = Representation.codes() if representation is None else representation
        return LoopReader(
            self,
            self.reader(form, device=device, policy=policy),
            form,
            on_miss=on_miss,
            miss_seconds=miss_seconds,
            miss_not_stored=miss_not_stored,
            hard_labels=hard_labels,
            in_flight=in_flight,
        )

    def code_reader(
        self, *, device: str = "cpu", policy: ViewPolicy | Unchecked | None = UNCHECKED
    ) -> LabelReader:
        """Make a reader whose labels stay codes, for `labelcast.torch.coded_label_loss`.

        Args:
            device: torch device of student and codes, which decodes them later.
            policy: as of `reader`.

        Raises:
            ContractMismatchError: the loop renders by another policy.
        """
        torch_reader: Any = import_module("labelcast.torch.label_reader")
        read: LabelReader = torch_reader.CodedLabelReader(self, policy=policy, device=device)
        return read

    @property
    def report(self) -> dict[str, Any]:
        """How well the codes keep the labels; {} if the set does not say."""
        if self._report is None:
            self._report = run(open_report(self.manifest), self.read_blob)
        return self._report

    def artifact(self) -> bytes:
        """The codec's artifact, verified; for decoders that prove themselves on its golden rows."""
        if self._artifact is None:
            self._artifact = self.read_blob(self.manifest.codec)
        return self._artifact

    def codec(self) -> Codec:
        """The codec, proven on its golden rows and against the manifest."""
        if self._codec is None:
            self._codec = run(open_codec(self.manifest), lambda _: self.artifact())
        return self._codec

    def index(self) -> ViewIndex:
        """The index of its views."""
        if self._index is None:
            self._index = run(open_index(self.manifest), self.read_blob)
        return self._index

    def stored_views(self) -> StoredViews:
        """The stored views of each sample, for choosing among them."""
        return StoredViews(self.index())

    def context(self) -> ViewContext | None:
        """What producer and student both know about the views; None without conditioning."""
        if self._context is None and self.contract.context is not None:
            self._context = run(open_context(self.manifest, self.index()), self.read_blob)
        return self._context

    def records(self) -> ViewRecords | None:
        """Recorded views, for replaying them; None where views are drawn from seeds."""
        if self._records is None and self.has_records:
            self._records = run(open_records(self.manifest, self.index()), self.read_blob)
        return self._records

    def fingerprints(self) -> SampleFingerprints | None:
        """What images must be compared with; None where the label set has no fingerprints.

        Raises:
            InvalidRequestError: its sites hold their own.
        """
        check_not_for_sites(self.manifest)
        if self._fingerprints is None and self.manifest.fingerprints is not None:
            opening = open_fingerprints(self.manifest, self.index())
            self._fingerprints = run(opening, self.read_blob)
        return self._fingerprints

    def control_views(self) -> ControlViews | None:
        """A few views as the teacher saw them, with their labels; None where the set has none."""
        if self._control_views is None and self.manifest.has_control_views:
            opening = open_control_views(self.manifest, self.index())
            self._control_views = run(opening, self.read_blob)
        return self._control_views

    def fingerprints_from(self, path: Path | str) -> SampleFingerprints:
        """What images of one site must be compared with, from its file of `labelcast federate`.

        Args:
            path: file; its digest must be one that the label set names.

        Raises:
            InvalidRequestError: the label set was not made for sites, or there is no such file.
            DigestMismatchError: the file is damaged, or of another label set.
        """
        sites = for_sites(run(open_sites(self.manifest), self.read_blob))
        return sites.of(read_site_file(path), str(path))

    def decoder(self) -> LabelDecoder:
        """Make a decoder of this label set's rows, with numpy alone."""
        return LabelDecoder(self.codec(), self.context())

    def stage_views(self, stage: int, *, new: bool = False) -> Views:
        """Views of a staged label set up to a stage, or only those that it adds.

        Args:
            stage: number of the stage, from 0.
            new: leave out the views of earlier stages.

        Raises:
            InvalidRequestError: there is no such stage.
        """
        return stage_views(self.manifest.stages, self.index(), stage, new=new)

    def stage_grid(self, stage: int, *, new: bool = False) -> StageGrid:
        """Samples and seeds of a stage, for a plan or loader that trains it.

        Args:
            stage: number of the stage, from 0.
            new: leave out what earlier stages have.

        Raises:
            InvalidRequestError: there is no such stage, or a sample lacks a seed of the others.
        """
        return stage_grid(self.manifest.stages, self.index(), stage, new=new)
