"""Where a training loop's soft labels come from."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelcast.augmentation import ViewPolicy
from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.label_set import StoredViews, ViewIndex
from labelcast.label_set.control_views import ControlViews
from labelcast.label_set.fingerprints import SampleFingerprints
from labelcast.label_set.student_side import (
    NOTHING_KNOWN,
    UNCHECKED,
    Side,
    Unchecked,
    class_list_of,
)
from labelcast.label_set.view_records import ViewRecords
from labelcast.opening.drivers import run
from labelcast.opening.label_set import LabelSet
from labelcast.opening.parts.label_set_parts import check_opened
from labelcast.opening.parts_from_blobs import open_reading
from labelcast.representation import Form, Representation
from labelcast.torch.label_reader import TorchLabelReader
from labelcast.views import Views


class LabelSource(ABC):
    """Gives a loader labels for batches of views, and says which views they are for.

    Everything that a loader compares is required, so that no source can forget it; one that does
    not know its policy says UNCHECKED.
    """

    @property
    @abstractmethod
    def digest(self) -> Digest | None:
        """Digest of the label set, which a run that resumes must have again; None without one."""

    @property
    @abstractmethod
    def label_kind(self) -> LabelKind:
        """Logits or probabilities."""

    @property
    @abstractmethod
    def view_policy(self) -> ViewPolicy | Unchecked | None:
        """Policy that makes the views; None for samples without augmentation."""

    @property
    @abstractmethod
    def view_records(self) -> ViewRecords | None:
        """Records of the views of another producer; None where views are drawn from seeds."""

    @property
    @abstractmethod
    def made_for(self) -> Side:
        """Samples and classes that the labels were made for; UNCHECKED what is not known."""

    @property
    @abstractmethod
    def fingerprints(self) -> SampleFingerprints | Unchecked | None:
        """What images are compared with: None for a label set without; UNCHECKED by choice."""

    @property
    @abstractmethod
    def control_views(self) -> ControlViews | Unchecked | None:
        """What is compared at the start: None for a label set without; UNCHECKED by choice."""

    @property
    @abstractmethod
    def stored_views(self) -> StoredViews:
        """Which views have labels."""

    @property
    @abstractmethod
    def recorded_agreement(self) -> float | None:
        """Agreement with hard labels when the labels were made; None if it was not measured."""

    @abstractmethod
    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """Yield float labels, shape (n, C), one tensor per batch."""


def check_source(source: object) -> None:
    """Refuse what gives no labels, such as a label set; None gives none on purpose.

    Raises:
        InvalidRequestError: says how to make a source.
    """
    if not isinstance(source, LabelSource | None):
        raise InvalidRequestError(
            "labels come from a LabelSource, such as LabelSetSource(label_set,"
            f" Representation.codes()), not from {type(source).__name__}"
        )


class LabelSetSource(LabelSource):
    """Labels of a label set: dense ones, or codes that are decoded here.

    Args:
        label_set: opened from a service or a directory.
        representation: codes, logits or probabilities.
        device: device that decodes codes and receives labels.

    Raises:
        InvalidRequestError: no label set, such as its tag, or no representation.
        UnsupportedFormError: the labels do not come in that form.
    """

    def __init__(
        self,
        label_set: LabelSet,
        representation: Representation,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        check_opened(label_set)
        self._label_set = label_set
        self._representation = representation
        # The policy is the label set's: the loader compares it with the rendering one.
        policy = label_set.contract.policy
        self._reader = TorchLabelReader(label_set, representation, policy=policy, device=device)

    @property
    def digest(self) -> Digest:
        """Digest that every request names."""
        return self._label_set.digest

    @property
    def label_kind(self) -> LabelKind:
        """Kind of the delivered labels."""
        if self._representation.form is Form.PROBABILITIES:
            return LabelKind.PROBABILITIES
        return self._label_set.contract.label_kind

    @property
    def view_policy(self) -> ViewPolicy | None:
        """Policy of the contract."""
        return self._label_set.contract.policy

    @property
    def view_records(self) -> ViewRecords | None:
        """Recorded views, read once and verified."""
        return self._label_set.records()

    @property
    def made_for(self) -> Side:
        """Of contract, index and, where codes were chosen under them, hard labels."""
        contract, context = self._label_set.contract, self._label_set.context()
        manifest = self._label_set.manifest
        # Not with the fingerprints: a federated site is to read none but its own.
        reading = run(open_reading(manifest), self._label_set.read_blob)
        parts = manifest.fingerprints, manifest.site_fingerprints
        return Side(
            policy=contract.policy,
            sample_ids=self._label_set.index().sample_ids,
            hard_labels=UNCHECKED if context is None else context.hard_labels,
            num_classes=contract.num_classes,
            class_list=class_list_of(
                contract.class_list,
                contract.num_classes,
                from_images=any(part is not None for part in parts),
            ),
            id_scheme=UNCHECKED if reading is None else reading.sample_ids,
        )

    @property
    def fingerprints(self) -> SampleFingerprints | None:
        """Read once, verified."""
        return self._label_set.fingerprints()

    @property
    def control_views(self) -> ControlViews | None:
        """Read once, verified; of labels as they are delivered."""
        control, temperature = self._label_set.control_views(), self._representation.temperature
        delivered_alike = self.label_kind is self._label_set.contract.label_kind
        if control is None or delivered_alike or temperature is None:
            return control
        return control.as_probabilities(temperature)

    @property
    def stored_views(self) -> StoredViews:
        """Stored views, read once and verified."""
        return self._label_set.stored_views()

    @property
    def recorded_agreement(self) -> float | None:
        """Agreement in the label set's report, which the canary expects."""
        value = self._label_set.report.get("hard_label_agreement")
        return value if isinstance(value, float) else None

    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """See `LabelSource`; float32 if decoded here, else the requested precision."""
        return self._reader.over(batches)


class ArrayLabels(LabelSource):
    """Labels from an array in memory or a mapped file.

    Args:
        array: float, shape (rows, C).
        index: view of each row; it must have one segment.
        label_kind: kind of the values.
        view_policy: policy that made the views; UNCHECKED if nobody knows.
        view_records: records of replayed views; None for others.

    Raises:
        InvalidRequestError: several segments, or not one row for every view of the index.
    """

    # Properties of the contract that an array answers with what it was given.
    digest: Digest | None = None
    label_kind: LabelKind = LabelKind.LOGITS
    view_policy: ViewPolicy | Unchecked | None = UNCHECKED
    view_records: ViewRecords | None = None
    made_for: Side = NOTHING_KNOWN
    fingerprints: SampleFingerprints | Unchecked | None = UNCHECKED
    control_views: ControlViews | Unchecked | None = UNCHECKED
    recorded_agreement: float | None = None

    def __init__(
        self,
        array: NDArray[Any],
        index: ViewIndex,
        label_kind: LabelKind,
        *,
        view_policy: ViewPolicy | Unchecked | None,
        view_records: ViewRecords | None = None,
    ) -> None:
        views = sum(part.num_rows for part in index.segments)
        if len(index.segments) != 1 or array.ndim != 2 or len(array) != views:
            raise InvalidRequestError(
                f"an array of shape {array.shape} is not one row for each of the {views} views of"
                f" one segment; the index has {len(index.segments)}"
            )
        self._array = array
        self._index = index
        self.label_kind = label_kind
        self.view_policy = view_policy
        self.view_records = view_records

    @property
    def stored_views(self) -> StoredViews:
        """Views of the index."""
        return StoredViews(self._index)

    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """See `LabelSource`; in the array's precision."""
        for views in batches:
            _, rows = self._index.locate(views)
            yield torch.from_numpy(np.ascontiguousarray(self._array[rows]))
