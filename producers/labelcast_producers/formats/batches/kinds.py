"""Whether all batches of top-k logits hold logits: one of probabilities may be among them."""

from typing import Any

from numpy.typing import NDArray

from labelcast.errors import LabelValueError
from labelcast_producers.formats.batches.batch import Place
from labelcast_producers.formats.shared.meaning import within_a_distribution

# Views of different images. A few may have small logits, but not all of a batch where none of
# another batch has.
_TELLING_ROWS = 16


class KindComparison:
    """Compares the batches of a set with each other, in whatever order they are read.

    Values of k classes that lie in 0…1 may be logits; what tells is that every row of one batch
    could be of a distribution, and no row of another. Batches of one class, or of fewer than
    sixteen views, tell nothing.
    """

    def __init__(self) -> None:
        self._like: Place | None = None
        self._unlike: Place | None = None

    def require_alike(self, values: NDArray[Any], place: Place) -> None:
        """Compare a batch with those before it.

        Args:
            values: its top-k values, finite, shape (B, k).
            place: where it is.

        Raises:
            LabelValueError: of it and one before it, one holds probabilities and the other does
                not; names the one that does.
        """
        if len(values) < _TELLING_ROWS or values.shape[1] < 2:
            return
        fitting = within_a_distribution(values)
        if fitting.all():
            self._like = self._like or place
        elif not fitting.any():
            self._unlike = self._unlike or place
        if self._like is not None and self._unlike is not None:
            raise LabelValueError(
                f"{self._like}: all its labels lie in 0…1 and sum to 1 at most, and not one of"
                f" {self._unlike} does: the former are probabilities, the latter logits; fetch that"
                " batch again, or label it again before the softmax; --label-kind logits keeps"
                " both as they are",
                path=self._like.file.path,
            )
