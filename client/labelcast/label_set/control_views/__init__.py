"""Control views: a few views as the teacher saw them, small, with their labels as they were stored.

A student renders the same views and decodes the same labels before its first batch. What differs
(a policy, a resize, a channel order, a codec, an index) shows there, and not in the accuracy.
"""

from labelcast.label_set.control_views.control_images import ControlImages
from labelcast.label_set.control_views.control_views import (
    CONTROL_PART,
    MAX_CONTROL_BYTES,
    ControlViews,
)
from labelcast.label_set.control_views.thumbnails import PIXEL_TOLERANCE, SIDE, thumbnails

__all__ = [
    "CONTROL_PART",
    "MAX_CONTROL_BYTES",
    "PIXEL_TOLERANCE",
    "SIDE",
    "ControlImages",
    "ControlViews",
    "thumbnails",
]
