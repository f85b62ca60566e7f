"""Which views of a data set become control views, and how they look."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from labelcast.label_set import SegmentIndex
from labelcast.label_set.control_views import ControlImages
from labelcast.views import Views

_MOST_VIEWS = 64
_MOST_BYTES = 2**17
_GOLDEN_RATIO = 0.6180339887498949


def take_control_images(index: SegmentIndex, render: Callable[[Views], Tensor]) -> ControlImages:
    """Take the thumbnails of at most 64 views that lie all over the rows, or of fewer in 128 KiB.

    Args:
        index: view of every row.
        render: gives views as the teacher is shown them: float, shape (N, channels, height, width).
    """
    # Spaced so that neither samples nor seeds repeat in step; the same rows on every machine.
    places = np.arange(1, _MOST_VIEWS + 1) * _GOLDEN_RATIO % 1.0
    views = index.views_at(np.unique((places * index.num_rows).astype(np.int64)))
    images = ControlImages.of(views, render(views).float().cpu().numpy())
    fitting = max(1, _MOST_BYTES // images.steps[0].nbytes)
    return images.only(np.arange(len(images)) < fitting)
