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
from labelcast.context.view_context import ViewContext
from labelcast.errors import InvalidRequestError
from labelcast.label_set import StoredViews, ViewIndex
from labelcast.label_set.student_side import UNCHECKED, Unchecked
from labelcast.label_set.view_records import ViewRecords
from labelcast.opening.label_set import LabelSet
from labelcast.representation import Form, Representation
from labelcast.torch.label_reader import TorchLabelReader
from labelcast.views import Views


class LabelSource(ABC):
    """Where a loader gets labels: gives them for batches of views, and says what views they are of.

    Whatever a loader compares is required, so that no source can forget it; one that does not know
    its policy says UNCHECKED.
    """

    @property
    @abstractmethod
    def label_kind(self) -> LabelKind:
        """Logits or probabilities."""

    @property
    @abstractmethod
    def view_policy(self) -> ViewPolicy | Unchecked | None:
        """By which the views are made; None for samples as they are."""

    @property
    @abstractmethod
    def view_records(self) -> ViewRecords | None:
        """How a foreign producer made the views; None where they are drawn from seeds."""

    @property
    @abstractmethod
    def view_context(self) -> ViewContext | None:
        """Samples and hard labels that codes were chosen under; None where codes say all."""

    @property
    @abstractmethod
    def stored_views(self) -> StoredViews:
        """Which views have labels."""

    @property
    @abstractmethod
    def recorded_agreement(self) -> float | None:
        """Agreement with hard labels when the labels were made; None if nobody measured it."""

    @abstractmethod
    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """Float labels, shape (n, C), one tensor a batch."""


class LabelSetSource(LabelSource):
    """Labels of a label set: dense ones, or codes that are decoded here.

    Args:
        label_set: opened from a service or a directory.
        representation: codes, logits or probabilities.
        device: where codes are decoded and labels delivered.

    Raises:
        UnsupportedFormError: labels cannot take that form.
    """

    def __init__(
        self,
        label_set: LabelSet,
        representation: Representation,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self._label_set = label_set
        self._representation = representation
        # Its policy is the label set's: who renders by it is compared by the loader.
        policy = label_set.contract.policy
        self._reader = TorchLabelReader(label_set, representation, policy=policy, device=device)

    @property
    def label_kind(self) -> LabelKind:
        """Of the labels as they are delivered."""
        if self._representation.form is Form.PROBABILITIES:
            return LabelKind.PROBABILITIES
        return self._label_set.contract.label_kind

    @property
    def view_policy(self) -> ViewPolicy | None:
        """Of the contract."""
        return self._label_set.contract.policy

    @property
    def view_records(self) -> ViewRecords | None:
        """Read once, verified."""
        return self._label_set.records()

    @property
    def view_context(self) -> ViewContext | None:
        """Read once, verified."""
        return self._label_set.context()

    @property
    def stored_views(self) -> StoredViews:
        """Read once, verified."""
        return self._label_set.stored_views()

    @property
    def recorded_agreement(self) -> float | None:
        """What the label set's report says that the canary should see."""
        value = self._label_set.report.get("hard_label_agreement")
        return value if isinstance(value, float) else None

    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """As `LabelSource`; float32 where decoded here, else the precision asked for."""
        return self._reader.over(batches)


class ArrayLabels(LabelSource):
    """Labels from an array in memory or a mapped file.

    Args:
        array: float, shape (rows, C).
        index: which row is which view's; it must have one segment.
        label_kind: kind of the values.
        view_policy: by which the views were made; UNCHECKED where nobody knows.
        view_records: where views are replayed.

    Raises:
        InvalidRequestError: several segments, or not one row for every view of the index.
    """

    # Properties of the contract that an array answers with what it was given.
    label_kind: LabelKind = LabelKind.LOGITS
    view_policy: ViewPolicy | Unchecked | None = UNCHECKED
    view_records: ViewRecords | None = None
    view_context: ViewContext | None = None
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
        """Those of the index."""
        return StoredViews(self._index)

    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """As `LabelSource`; in the array's precision."""
        for views in batches:
            _, rows = self._index.locate(views)
            yield torch.from_numpy(np.ascontiguousarray(self._array[rows]))
