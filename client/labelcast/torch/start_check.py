"""The comparison of control views before a loop's first batch."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from labelcast.label_set.student_side import Unchecked
from labelcast.torch.sources import LabelSource
from labelcast.views import Views

logger = logging.getLogger("labelcast.torch.images")


def check_at_start(
    source: LabelSource,
    render: Callable[[Views], Tensor],
    partners: Callable[[Views], Views],
    *,
    known: NDArray[np.uint64],
    chosen: NDArray[np.uint64] | None,
) -> None:
    """Compare the control views that this data set can render, and say in the log how many.

    Args:
        source: gives control views and labels.
        render: gives views as the loop renders them: float, shape (N, channels, height, width).
        partners: gives the view that each view is mixed with.
        known: uint64: samples of the data set.
        chosen: uint64: samples to train on; None for all.

    Raises:
        ContractMismatchError: see `ControlViews.check`.
    """
    control = source.control_views
    if isinstance(control, Unchecked):
        return
    if control is None:
        logger.info("the label set has no control views: nothing is compared at the start")
        return
    at_hand = control.of_samples(known if chosen is None else chosen, known, partners)
    if not len(at_hand):
        logger.warning(
            "none of the label set's %d control views is of samples at hand: nothing is compared at"
            " the start",
            len(control),
        )
        return

    def labels(views: Views) -> NDArray[Any]:
        (soft,) = source.labels([views])
        return _on_host(soft)

    at_hand.check(lambda views: _on_host(render(views)), labels)
    logger.info("%d of %d control views are as they were", len(at_hand), len(control))


def _on_host(values: Tensor) -> NDArray[Any]:
    on_host: NDArray[Any] = values.float().cpu().numpy()
    return on_host
