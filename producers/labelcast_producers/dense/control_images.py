"""Thumbnails of a few views among the tables of dense labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import InvalidRequestError, ManifestError
from labelcast.label_set import SegmentIndex
from labelcast.label_set.control_views import SIDE, ControlImages
from labelcast.views import Views

_IDS, _SEEDS, _STEPS = "control_ids", "control_seeds", "control_steps"
_SIZE_AND_RANGE = "control_size_and_range"


def as_tables(images: ControlImages | None) -> dict[str, NDArray[Any]]:
    """Tables that `from_tables` reads back; none without images."""
    if images is None:
        return {}
    views = images.views
    tables = {
        _IDS: views.sample_ids,
        _SEEDS: views.seeds,
        _STEPS: images.steps,
        _SIZE_AND_RANGE: np.array([*images.size, images.low, images.high]),
    }
    return {name: np.ascontiguousarray(table) for name, table in tables.items()}


def from_tables(tables: dict[str, NDArray[Any]], index: SegmentIndex) -> ControlImages | None:
    """The thumbnails; None where there are none.

    Raises:
        ManifestError: they are incomplete, malformed or of other views.
    """
    given = [tables[name] for name in (_IDS, _SEEDS, _STEPS, _SIZE_AND_RANGE) if name in tables]
    if not given:
        return None
    try:
        ids, seeds, steps, (height, width, low, high) = given
        images = ControlImages(
            views=Views(ids, seeds),
            size=(int(height), int(width)),
            low=float(low),
            high=float(high),
            steps=steps,
        )
    except (ValueError, InvalidRequestError):
        raise ManifestError("the tables of control views are incomplete") from None
    if steps.dtype != np.uint8 or steps.ndim != 4 or steps.shape[::2] != (len(ids), SIDE):
        raise ManifestError("the tables of control views are malformed")
    if not index.rows(images.views)[1].all():
        raise ManifestError("the tables of control views name views without labels")
    return images
