"""Where a training loop's soft labels come from."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelcast.augmentation import ViewPolicy
from labelcast.codec import LabelKind
from labelcast.context.view import ViewContext
from labelcast.errors import InvalidRequestError
from labelcast.label_set import StoredViews, ViewIndex
from labelcast.label_set.recorded_views import ViewRecords
from labelcast.remote.client import LabelClient
from labelcast.remote.label_set import RemoteLabelSet
from labelcast.representation import Form, Representation
from labelcast.torch.decoding import load_decoder
from labelcast.views import Views


class LabelSource(Protocol):
    """Gives labels for batches of views, in order.

    `recorded_agreement` is what the canary should see, or None if nobody measured it;
    `view_context` what the labels were decoded under, or None if codes said all. A source may also
    have `view_policy`, which the loader's must be, `view_records`, how a foreign producer made the
    views, and `stored_views`, for label sets that lack some.
    """

    label_kind: LabelKind

    @property
    def recorded_agreement(self) -> float | None:
        """Agreement with hard labels, as it was measured when the label set was made."""
        ...

    @property
    def view_context(self) -> ViewContext | None:
        """Samples and hard labels, which must be the student's own."""
        ...

    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """Float labels, shape (n, C), one tensor a batch."""
        ...


class ServiceLabels:
    """Labels from the service: finished ones, or codes that are decoded here.

    Args:
        client: connected lazily.
        label_set: from `client.open`, which has checked the contract.
        representation: codes, logits or probabilities.
        device: where codes are decoded and labels delivered.
    """

    def __init__(
        self,
        client: LabelClient,
        label_set: RemoteLabelSet,
        representation: Representation,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self._client = client
        self._label_set = label_set
        self._representation = representation
        self._device = torch.device(device)
        kind = label_set.contract.label_kind
        if representation.form is Form.PROBABILITIES:
            kind = LabelKind.PROBABILITIES
        self.label_kind = kind

    @property
    def recorded_agreement(self) -> float | None:
        """What the label set's report says that the canary should see."""
        value = self._label_set.report.get("hard_label_agreement")
        return value if isinstance(value, float) else None

    @property
    def view_context(self) -> ViewContext | None:
        """Fetched once; None for label sets whose codec is not conditioned."""
        return self._client.context(self._label_set)

    @property
    def view_policy(self) -> ViewPolicy | None:
        """Of the contract."""
        return self._label_set.contract.policy

    @property
    def view_records(self) -> ViewRecords | None:
        """Fetched once; None for label sets whose views are drawn from seeds."""
        return self._client.records(self._label_set)

    @property
    def stored_views(self) -> StoredViews:
        """Fetched once, verified."""
        return StoredViews(self._client.index(self._label_set))

    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """As `LabelSource`; float32 where decoded here, else the precision asked for."""
        decoder, context = None, None
        if self._representation.form is Form.CODES:
            context = self.view_context
            # Proven on this device: it may compute differently from the numpy decoder.
            decoder = load_decoder(self._client.artifact(self._label_set), self._device)
        for batch in self._client.stream(self._label_set, batches, self._representation):
            # Copied: torch has no read-only tensors, and these bytes belong to the message.
            if decoder is None:
                yield torch.from_numpy(batch.values.copy()).to(self._device)
            else:
                about = None if context is None else context.rows(batch.views)
                yield decoder.decode(batch.rows, about)


class ArrayLabels:
    """Labels of an array in memory or a mapped file.

    Args:
        array: float, shape (rows, C).
        index: which row is which view's; it must have one segment.
        label_kind: kind of the values.
        view_records: where views are replayed.

    Raises:
        InvalidRequestError: several segments, or not one row for every view of the index.
    """

    recorded_agreement: float | None = None
    view_context: ViewContext | None = None

    def __init__(
        self,
        array: NDArray[Any],
        index: ViewIndex,
        label_kind: LabelKind,
        *,
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
