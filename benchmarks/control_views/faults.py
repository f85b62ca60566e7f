"""What goes wrong between a teacher and a student: each fault as a start that has it."""

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.control_views.made import (
    DEVIATION,
    MEAN,
    SEEDS,
    SIZE,
    Changed,
    Made,
    photographs_resized,
)
from labelcast import Representation, Views
from labelcast.augmentation import AugmentationPolicy, Mix, ViewPolicy
from labelcast.codec import read_artifact
from labelcast.context.view_context import ViewContext
from labelcast.label_set.student_side import Side
from labelcast.torch import LabelSetSource

Start: TypeAlias = tuple[Any, LabelSetSource]
CODES = Representation.codes()


@dataclass(frozen=True)
class Fault:
    """A mistake.

    Attributes:
        name: for people.
        where: what it changes, "images" or "labels".
        start: makes a start that has it; None where a label set cannot have it.
    """

    name: str
    where: str
    start: Callable[[Made], Start | None]


class OtherViews(LabelSetSource):
    """Says that views are made by another policy, which no digest contradicts."""

    def __init__(self, made: Made, policy: AugmentationPolicy) -> None:
        super().__init__(made.label_set(), CODES)
        self._policy = policy

    @property
    def view_policy(self) -> ViewPolicy | None:
        return self._policy

    @property
    def made_for(self) -> Side:
        return replace(super().made_for, policy=self._policy)


class OtherLabels(LabelSetSource):
    """Gives the labels of other views, or other labels for these."""

    def __init__(
        self,
        made: Made,
        *,
        views: Callable[[Views], Views] = lambda views: views,
        labels: Callable[[Tensor, Views], Tensor] = lambda labels, _: labels,
    ) -> None:
        super().__init__(made.label_set(), CODES)
        self._other_views, self._other_labels = views, labels

    def labels(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        for views in batches:
            (labels,) = super().labels([self._other_views(views)])
            yield self._other_labels(labels, views)


def pixels(change: Callable[[Tensor], Tensor]) -> Callable[[Made], Start | None]:
    """Images are changed before they are augmented."""

    def start(made: Made) -> Start | None:
        dataset = made.dataset()
        changed = Changed(dataset, change)
        if torch.equal(changed[0][0], dataset[0][0]):
            return None
        return changed, LabelSetSource(made.label_set(), CODES)

    return start


def resized(resize: Callable[[Any], Any]) -> Callable[[Made], Start | None]:
    """Photographs are made smaller in another way."""

    def start(made: Made) -> Start | None:
        if made.root is None:
            return None
        return photographs_resized(made.root, resize), LabelSetSource(made.label_set(), CODES)

    return start


def policy(**changes: Any) -> Callable[[Made], Start | None]:
    """Views are made by another policy."""

    def start(made: Made) -> Start | None:
        own = made.label_set().contract.policy
        if not isinstance(own, AugmentationPolicy):
            return None
        other = replace(own, **changes)
        return None if other == own else (made.dataset(), OtherViews(made, other))

    return start


def partner(made: Made) -> Start | None:
    """Partners are of the right seed, but drawn by another key: the boxes are too."""
    own = made.label_set().contract.policy
    mixes = isinstance(own, AugmentationPolicy) and own.mix is not Mix.NONE
    return policy(mix_batch=8)(made) if mixes else None


def next_seed(made: Made) -> Start | None:
    """Labels of the seed after each."""
    if made.label_set().contract.policy is None:
        return None

    def views(views: Views) -> Views:
        return Views(views.sample_ids, (views.seeds + np.uint32(1)) % np.uint32(SEEDS))

    return made.dataset(), OtherLabels(made, views=views)


def next_sample(made: Made) -> Start | None:
    """Labels of the sample after each."""
    ids = made.label_set().index().sample_ids

    def views(views: Views) -> Views:
        at = (np.searchsorted(ids, views.sample_ids) + 1) % len(ids)
        return Views(ids[at], views.seeds)

    return made.dataset(), OtherLabels(made, views=views)


def labels(change: Callable[[Tensor], Tensor]) -> Callable[[Made], Start | None]:
    """Labels are changed after they are decoded."""

    def start(made: Made) -> Start | None:
        return made.dataset(), OtherLabels(made, labels=lambda labels, _: change(labels))

    return start


def other_codec(made: Made) -> Start | None:
    """The right codes, decoded by another fit of the same shape."""
    if made.other_codec is None:
        return None
    label_set, codec = made.label_set(), read_artifact(made.other_codec)

    def decoded(_: Tensor, views: Views) -> Tensor:
        context = label_set.context()
        about = None if context is None else context.rows(views)
        return torch.from_numpy(codec.decode(label_set.gather(views), about))

    return made.dataset(), OtherLabels(made, labels=decoded)


def other_context(made: Made) -> Start | None:
    """The right codes, decoded under hard labels of which each is its neighbour's."""
    label_set = made.label_set()
    own, augmented = label_set.context(), label_set.contract.policy
    if own is None or not isinstance(augmented, AugmentationPolicy):
        return None
    hard = np.roll(own.hard_labels, 1)
    other = ViewContext(augmented, label_set.index().sample_ids, hard)

    def decoded(_: Tensor, views: Views) -> Tensor:
        return torch.from_numpy(
            label_set.codec().decode(label_set.gather(views), other.rows(views))
        )

    return made.dataset(), OtherLabels(made, labels=decoded)


def saved_again(quality: int) -> Callable[[Image.Image], Image.Image]:
    """Photographs are encoded once more before they are resized as the teacher's were."""

    def resize(photograph: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        photograph.save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as again:
            return centred(again.convert("RGB"), Image.Resampling.BILINEAR)

    return resize


def centred(photograph: Image.Image, resampling: Image.Resampling) -> Image.Image:
    """Shorter side to SIZE, the centre of the longer one: as `ImageFolder` does."""
    scale = SIZE / min(photograph.size)
    wide, high = (max(SIZE, round(side * scale)) for side in photograph.size)
    left, top = (wide - SIZE) // 2, (high - SIZE) // 2
    whole = photograph.resize((wide, high), resampling)
    return whole.crop((left, top, left + SIZE, top + SIZE))


def swapped(labels: Tensor) -> Tensor:
    """Two classes have changed places."""
    order = torch.arange(labels.shape[1])
    order[:2] = torch.tensor([1, 0])
    return labels[:, order]


FAULTS = (
    Fault("another key", "images", policy(key=1)),
    Fault("crops from 0.3 of the area, not 0.2 or 0.5", "images", policy(crop_scale=(0.3, 1.0))),
    Fault("crops of other ratios", "images", policy(crop_ratio=2.0)),
    Fault("no flips", "images", policy(flip_probability=0.0)),
    Fault("no rotation", "images", policy(rotation_degrees=0.0)),
    Fault("no mixing", "images", policy(mix=Mix.NONE)),
    Fault("other partners", "images", partner),
    Fault("views of 48 pixels", "images", policy(view_height=48, view_width=48)),
    Fault("blue for red", "images", pixels(lambda image: image.flip(0))),
    Fault("0 to 255", "images", pixels(lambda image: image * 255)),
    Fault("normalised", "images", pixels(lambda image: (image - MEAN) / DEVIATION)),
    Fault("mirrored", "images", pixels(lambda image: image.flip(2))),
    Fault(
        "squashed, not cut to a square",
        "images",
        resized(lambda photograph: photograph.resize((SIZE, SIZE))),
    ),
    Fault(
        "resized by nearest neighbours",
        "images",
        resized(lambda photograph: centred(photograph, Image.Resampling.NEAREST)),
    ),
    Fault(
        "resized bicubically",
        "images",
        resized(lambda photograph: centred(photograph, Image.Resampling.BICUBIC)),
    ),
    Fault("encoded again, JPEG quality 30", "images", resized(saved_again(30))),
    Fault("labels of the next seed", "labels", next_seed),
    Fault("labels of the next sample", "labels", next_sample),
    Fault("classes moved by one", "labels", labels(lambda soft: soft.roll(1, dims=1))),
    Fault("two classes exchanged", "labels", labels(swapped)),
    Fault("another fit's codec", "labels", other_codec),
    Fault("another context", "labels", other_context),
)

# Changes that a student does not suffer from; fingerprints of files tell them.
HARMLESS = (Fault("encoded again, JPEG quality 95", "images", resized(saved_again(95))),)
