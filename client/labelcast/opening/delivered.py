"""Labels as they were delivered: bytes, and how to read them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Labels, Rows
from labelcast.codec.topk import split_top_k
from labelcast.errors import InvalidRequestError
from labelcast.representation import Form, Representation
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class DeliveredLabels:
    """Labels of one batch, in the order of its views.

    Attributes:
        views: requested views.
        rows: uint8, shape (N, stride), read-only; the bytes as delivered.
        representation: form of the rows.
        num_classes: number of classes, C.
    """

    views: Views
    rows: Rows
    representation: Representation
    num_classes: int

    def __repr__(self) -> str:
        return (
            f"<DeliveredLabels: {len(self.views)} rows of {self.representation.form},"
            f" {self.num_classes} classes>"
        )

    @property
    def values(self) -> NDArray[Any]:
        """Dense labels, zero-copy: fp16 or fp32, shape (N, C).

        Raises:
            InvalidRequestError: the rows are codes or top-k.
        """
        if self.representation.form not in (Form.LOGITS, Form.PROBABILITIES):
            how = (
                "take them with top_k()"
                if self.representation.form is Form.TOP_K
                else "decode them with label_set.decoder().decode(rows, views)"
            )
            raise InvalidRequestError(
                f"these rows are {self.representation.form}, not dense labels; {how}"
            )
        return self.rows.view(self.representation.dtype)

    def top_k(self) -> tuple[NDArray[np.int64], Labels]:
        """Class IDs (int64) and probabilities (float32), each of shape (N, k).

        Raises:
            InvalidRequestError: the rows are not top-k.
        """
        if self.representation.k is None:
            raise InvalidRequestError(f"these rows are {self.representation.form}, not top-k")
        return split_top_k(self.rows, self.representation.k, self.num_classes)
