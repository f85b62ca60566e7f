"""Context of dense labels by row number, which fitting and encoding read beside the labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.context.view_context import ViewContext
from labelcast.label_set import SegmentIndex


@dataclass(frozen=True, eq=False, slots=True)
class RowContext:
    """What is known about the views of a label file.

    Attributes:
        index: view of every row.
        context: context of the views.
    """

    index: SegmentIndex
    context: ViewContext

    def rows(self, numbers: NDArray[np.int64]) -> Rows:
        """Packed context of label rows: uint8, shape (n, stride), in the order given."""
        return self.context.rows(self.index.views_at(numbers))
