"""The label side of your own training loop: no images, no workers, no order."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.augmentation import ViewPolicy
from labelcast.errors import ContractMismatchError, InvalidRequestError
from labelcast.label_set.student_side import UNCHECKED, Unchecked, require_same_policy
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.drawn_views import DrawnViews
from labelcast.representation import Form, Representation, check_representation
from labelcast.views import Views

if TYPE_CHECKING:
    from labelcast.opening.label_set import LabelSet

_BATCH_ROWS = 8192


class LabelReader:
    """Gives labels to a loop that renders the views.

    A label belongs to one rendering. The reader therefore takes views that the label set has drawn
    (`label_set.views`); or any views, if it was told the policy that renders them and that is the
    label set's; or sample IDs, if each sample has one view and is not augmented.

    Args:
        label_set: label set to read.
        representation: codes, decoded here, or dense labels.
        policy: policy that renders the views.

    Raises:
        ContractMismatchError: the policy is not the label set's.
        UnsupportedFormError: the labels do not come in that form.
        InvalidRequestError: the form is top-k, which is no array of labels.
    """

    def __init__(
        self,
        label_set: "LabelSet",
        representation: Representation,
        *,
        policy: ViewPolicy | Unchecked | None,
    ) -> None:
        check_representation(representation)
        if representation.form is Form.TOP_K:
            raise InvalidRequestError("a reader gives dense labels; take top-k from `stream`")
        contract = label_set.contract
        require_same_policy(policy, contract.policy)
        self._label_set = label_set
        self._representation = representation
        # Samples without augmentation need nobody to say how they are rendered.
        self._rendering_is_known = policy is not UNCHECKED or contract.policy is None

    def __call__(self, views: DrawnViews | Views | ArrayLike) -> Any:
        """Read the labels of views, in their order.

        Returns:
            float, shape (N, C): a numpy array, or a tensor if the reader has a device. Of a code
            reader, `labelcast.torch.CodedLabels`.

        Raises:
            ContractMismatchError: the views were drawn for another label set.
            InvalidRequestError: nothing says how the views are rendered.
            ViewNotFoundError: a view that the label set lacks.
        """
        return self._joined([self.decode(batch) for batch in self._delivered(self.views_of(views))])

    def over(self, batches: Iterable[Views]) -> Iterator[Any]:
        """Read labels of many batches of views, or of a plan's, requested ahead.

        Returns:
            For each batch what a call gives.

        Raises:
            InvalidRequestError: nothing says how the views are rendered.
            ViewNotFoundError: a view that the label set lacks.
        """
        self._require_known_rendering()
        for batch in self._label_set.stream(batches, self._representation):
            yield self.decode(batch)

    def prepare(self) -> None:
        """Read what decoding needs, so that later nothing but labels has to come.

        Raises:
            DataError: it is damaged.
            NetworkError: the service does not give it.
        """
        if self._representation.form is Form.CODES:
            self._label_set.decoder()

    def views_of(self, views: DrawnViews | Views | ArrayLike) -> Views:
        """The views that a loop means; see the class.

        Raises:
            ContractMismatchError: the views were drawn for another label set.
            InvalidRequestError: nothing says how the views are rendered.
        """
        if isinstance(views, DrawnViews):
            if views.label_set != self._label_set.digest:
                raise ContractMismatchError(
                    "these views were drawn for another label set; take them from views() of this",
                    field="label_set",
                    expected=self._label_set.digest,
                    actual=views.label_set,
                )
            return views.views
        self._require_known_rendering()
        return views if isinstance(views, Views) else Views.of(views, self._only_seed())

    def _require_known_rendering(self) -> None:
        if not self._rendering_is_known:
            raise InvalidRequestError(
                "a label belongs to one rendering: give views from label_set.views(sample_ids,"
                " seeds), or give the reader policy=..., by which the loop renders"
            )

    def _only_seed(self) -> int:
        seeds = {seed for part in self._label_set.index().segments for seed in part.seeds.tolist()}
        if self._label_set.contract.policy is not None or len(seeds) != 1:
            raise InvalidRequestError(
                "sample IDs alone do not say which view is meant: this label set has more than one"
                " a sample; give Views.of(sample_ids, seeds)"
            )
        return int(seeds.pop())

    def _delivered(self, views: Views) -> Iterator[DeliveredLabels]:
        if not len(views):
            raise InvalidRequestError("ask for at least one view")
        return self._label_set.stream(views.batches(_BATCH_ROWS), self._representation)

    def decode(self, batch: DeliveredLabels) -> Any:
        """Labels of a delivered batch: float, shape (N, C), where `placed` puts arrays."""
        if self._representation.form is Form.CODES:
            return self._label_set.decoder().decode(batch.rows, batch.views)
        return batch.values

    def placed(self, values: NDArray[Any]) -> Any:
        """An array where this reader gives labels: as it is, or on its device."""
        return values

    def _joined(self, parts: list[Any]) -> Any:
        return np.concatenate(parts)
