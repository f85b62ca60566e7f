"""Starts of a training loop, and how far their control views are from the teacher's."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.control_views.faults import Start
from labelcast import UNCHECKED
from labelcast.augmentation import AugmentationPolicy
from labelcast.errors import ContractMismatchError
from labelcast.label_set.control_views import PIXEL_TOLERANCE, ControlViews
from labelcast.torch import SampleTable, SoftLabelLoader, ViewRenderer


@dataclass(frozen=True)
class Outcome:
    """What came of a start.

    Attributes:
        alarm: whether the loader refused to begin.
        views: control views of the label set.
        noticed: views that look otherwise, or have another label.
        pixels: largest difference of a mean, in steps of 255; None if shapes differ.
        labels: largest difference of a label, as a multiple of what is allowed.
    """

    alarm: bool
    views: int
    noticed: int
    pixels: float | None
    labels: float


def is_refused(start: Start, *, compared: bool, batch_size: int = 32) -> bool:
    """Ask a loader for its first batch.

    Args:
        start: data set and labels.
        compared: compare fingerprints of images too, as loaders do by default; without, nothing but
            control views can raise an alarm.
        batch_size: of the loader.
    """
    dataset, source = start
    loader = SoftLabelLoader(
        dataset,
        source,
        seeds=[0],
        batch_size=batch_size,
        canary=None,
        fingerprints="compared" if compared else UNCHECKED,
    )
    try:
        next(iter(loader))
    except ContractMismatchError as error:
        if error.facts["field"] != "control_views":
            raise
        return True
    return False


def begin(start: Start, *, compared: bool, batch_size: int = 32) -> Outcome:
    """As `is_refused`, and measure by how much."""
    alarm = is_refused(start, compared=compared, batch_size=batch_size)
    control = start[1].control_views
    assert control is not None
    return Outcome(alarm, len(control), *_measured(start, control))


def _measured(start: Start, control: ControlViews) -> tuple[int, float | None, float]:
    """Views noticed, and largest differences of images and labels."""
    _, source = start
    (soft,) = source.labels([control.views])
    labels = control.label_distances(soft.numpy())
    try:
        pixels = control.images.distances(_rendered(start, control))
    except ContractMismatchError:
        return len(control), None, float(labels.max())
    noticed = ~(pixels <= PIXEL_TOLERANCE) | ~(labels <= 1).all(axis=1)
    return int(noticed.sum()), float(pixels.max()), float(labels.max())


def _rendered(start: Start, control: ControlViews) -> Any:
    dataset, source = start
    policy = source.view_policy
    assert policy is None or isinstance(policy, AugmentationPolicy)
    table, views = SampleTable(dataset), control.views
    renderer = ViewRenderer(policy, table.sample_ids)
    partners = table.images(renderer.partners(views).sample_ids)
    return np.asarray(renderer.render(views, table.images(views.sample_ids), partners))
