"""Context rows: what producer and student both know about a view without any code.

The hard labels of the sample and of its mix partner, their crops, and the partner's share of the
view cost no bits: both ends derive them from tables that the manifest pins by digest
(`labelcast.context.view_context`). A context row is never part of a request and never stored: a
wrong one would be a wrong label.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.views import Rows

# Crop (top, left, height, width), rotation and flip of the sample's view and of the partner's;
# mix box (top, left, bottom, right); the partner's share of the view.
GEOMETRY_WIDTH = 6 + 6 + 4 + 1

CLASSES = 2
CLASS_BYTES = 4
CONTEXT_STRIDE = CLASSES * CLASS_BYTES + 4 * GEOMETRY_WIDTH
# Everything is a fraction, twice a fraction less 1, or an angle in units of 45 degrees.
LARGEST_GEOMETRY = 4.0


@dataclass(frozen=True, eq=False, slots=True)
class Context:
    """Unpacked context rows.

    Attributes:
        classes: int64, shape (N, 2): hard labels of sample and partner.
        geometry: float32, shape (N, GEOMETRY_WIDTH); the last column is the partner's share.
    """

    classes: NDArray[np.int64]
    geometry: NDArray[np.float32]

    def pack(self) -> Rows:
        """Pack as uint8, shape (N, stride)."""
        return np.concatenate(
            [
                np.ascontiguousarray(self.classes.astype("<u4")).view(np.uint8),
                np.ascontiguousarray(self.geometry.astype("<f4")).view(np.uint8),
            ],
            axis=1,
        )
