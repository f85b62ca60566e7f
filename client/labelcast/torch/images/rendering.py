"""Pixels of views, whether they are drawn from seeds or replayed from records."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelcast.augmentation import RecordedPolicy, UnrenderedPolicy, ViewPolicy
from labelcast.errors import InvalidRequestError
from labelcast.label_set.view_records import ViewRecords
from labelcast.torch.images.render_seeded import ViewRenderer
from labelcast.torch.images.replay_recorded import render_recorded
from labelcast.views import Views

Images = Tensor | Sequence[Tensor]


class Renderer(Protocol):
    """What a training loop needs of a way to make views."""

    def partners(self, views: Views) -> Views:
        """The view that each view is mixed with; `views` itself where nothing is mixed."""
        ...

    def render(self, views: Views, images: Images, partner_images: Images | None) -> Tensor:
        """Float, shape (N, channels, view height, view width), on the device of the images."""
        ...


class SeededRenderer:
    """Renders views that are drawn from seeds; images have one size."""

    def __init__(self, renderer: ViewRenderer) -> None:
        self._renderer = renderer

    def partners(self, views: Views) -> Views:
        """As `Renderer`."""
        return self._renderer.partners(views)

    def render(self, views: Views, images: Images, partner_images: Images | None) -> Tensor:
        """As `Renderer`."""
        partners = None if partner_images is None else _one_size(partner_images)
        return self._renderer.render(views, _one_size(images), partners)


class RecordedRenderer:
    """Replays recorded views on images of any sizes.

    Args:
        records: recorded views of the label set.
    """

    def __init__(self, records: ViewRecords) -> None:
        self._records = records

    def partners(self, views: Views) -> Views:
        """As `Renderer`."""
        recorded = self._records.of(views)
        partners = Views(recorded.partner_sample_ids, recorded.partner_seeds)
        same = np.array_equal(partners.sample_ids, views.sample_ids)
        return views if same and np.array_equal(partners.seeds, views.seeds) else partners

    def render(self, views: Views, images: Images, partner_images: Images | None) -> Tensor:
        """As `Renderer`."""
        recorded = self._records.of(views)
        partners = Views(recorded.partner_sample_ids, recorded.partner_seeds)
        # Without images of partners, every view is its own.
        return render_recorded(
            self._records.policy,
            recorded,
            images,
            self._records.of(partners),
            images if partner_images is None else partner_images,
        )


def choose_renderer(
    policy: ViewPolicy | None, sample_table: NDArray[np.uint64], records: ViewRecords | None
) -> Renderer:
    """Choose the renderer of a label set's views: drawn from seeds, or recorded.

    Raises:
        InvalidRequestError: views are positions of text, or were recorded and the records are not
            at hand.
    """
    if isinstance(policy, UnrenderedPolicy):
        raise InvalidRequestError(f"the views of this label set are {policy.meaning}")
    if not isinstance(policy, RecordedPolicy):
        return SeededRenderer(ViewRenderer(policy, sample_table))
    if records is None:
        raise InvalidRequestError(
            "these views were recorded: give a label source that has their records (LabelSetSource)"
        )
    return RecordedRenderer(records)


def _one_size(images: Images) -> Tensor:
    return images if isinstance(images, Tensor) else torch.stack(list(images))
