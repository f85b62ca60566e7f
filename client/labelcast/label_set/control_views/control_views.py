"""The part of a label set: thumbnails of a few views, and the likeliest classes of their labels."""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelcast.errors import ContractMismatchError, ManifestError
from labelcast.label_set.control_views.control_images import ControlImages
from labelcast.label_set.control_views.thumbnails import SIDE
from labelcast.views import Views

CONTROL_PART = "control_views"
MAX_CONTROL_BYTES = 2**20

_MAGIC = b"labelcast/control-views/1\n"
_HEADER = struct.Struct("<IIIIIff")
_KEPT_CLASSES = 16
# Of a label's largest value: eight times what fp16 rounds, far below what another label differs by.
_LABEL_TOLERANCE = 2.0**-8
# Logits that are further below the likeliest's stand for classes that are out of question, such as
# those that top-k does not keep: how large they are says nothing of the others.
_OUT_OF_QUESTION = 100.0


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ControlViews:
    """V views as the teacher saw them, with their labels as they decoded when the set was made.

    Attributes:
        images: the views and their thumbnails.
        classes: uint32, shape (V, k), increasing in a row: the likeliest classes.
        values: float32, shape (V, k): the labels' values of these.
        shares: whether values are shares of what these classes have together, rather than values of
            labels.
    """

    images: ControlImages
    classes: NDArray[np.uint32]
    values: NDArray[np.float32]
    shares: bool = False

    @classmethod
    def of(cls, images: ControlImages, labels: NDArray[np.float32]) -> Self:
        """Keep the likeliest 16 classes of labels.

        Args:
            images: the views.
            labels: shape (V, C), finite, in the order of `images.views`.
        """
        likeliest = np.argsort(-labels, axis=1, kind="stable")[:, :_KEPT_CLASSES]
        classes = np.sort(likeliest, axis=1)
        values = np.take_along_axis(labels, classes, axis=1).astype(np.float32)
        return cls(images=images, classes=classes.astype(np.uint32), values=values)

    @property
    def views(self) -> Views:
        """The views, in rising order of sample ID, then seed."""
        return self.images.views

    def __len__(self) -> int:
        return len(self.images)

    def check(self, render: Callable[[Views], ArrayLike], labels: Callable[[Views], Any]) -> None:
        """Compare views and labels as a training loop makes them with those that are kept.

        Args:
            render: gives V views as they are shown to the student before it normalises them: float,
                shape (V, channels, height, width), in host memory.
            labels: gives their labels: float, shape (V, C), in host memory.

        Raises:
            ContractMismatchError: a view looks otherwise than to the teacher, or has another label.
        """
        self.images.require(np.asarray(render(self.views)))
        self.require_labels(np.asarray(labels(self.views)))

    def label_distances(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        """How far labels are from those that are kept, as a multiple of what is allowed.

        Args:
            labels: float, shape (V, C), in the order of `views`.

        Returns:
            float64, shape (V, k), of each class that is kept; above 1 it is another label.

        Raises:
            ContractMismatchError: they are too few, or of too few classes.
        """
        if labels.ndim != 2 or len(labels) != len(self) or labels.shape[1] <= self.classes.max():
            raise ContractMismatchError(
                f"labels of shape {labels.shape} are not those of {len(self)} control views, which"
                f" have at least {int(self.classes.max()) + 1} classes",
                field="control_views",
                expected=len(self),
                actual=labels.shape,
            )
        allowed = _LABEL_TOLERANCE * self._scale()
        differences = np.abs(self._found(labels) - self.values)
        distances: NDArray[np.float64] = np.divide(
            differences, allowed, out=np.where(differences == 0, 0.0, np.inf), where=allowed > 0
        )
        return distances

    def require_labels(self, labels: NDArray[Any]) -> None:
        """Refuse labels that are not those of these views.

        Args:
            labels: float, shape (V, C), in the order of `views`.

        Raises:
            ContractMismatchError: says how many labels differ, and the first.
        """
        # Asked so that what is no number differs.
        differs = ~(self.label_distances(labels) <= 1)
        if not differs.any():
            return
        view = int(np.argmax(differs.any(axis=1)))
        at = int(np.argmax(differs[view]))
        sample_id, seed = self.views.sample_ids[view], self.views.seeds[view]
        found, kept = float(self._found(labels)[view, at]), float(self.values[view, at])
        raise ContractMismatchError(
            f"{int(differs.any(axis=1).sum())} of {len(self)} control views get other labels than"
            f" when the set was made: class {self.classes[view, at]} of sample ID {sample_id}, seed"
            f" {seed} has {found:.4g}, not {kept:.4g}; read labels by sample ID and seed, in the"
            " label set's class order, and decode them with its codec",
            field="control_views",
            expected=kept,
            actual=found,
            sample_id=sample_id,
            seed=seed,
        )

    def _scale(self) -> NDArray[np.float64]:
        """What the tolerance of each value is measured by: float64, shape (V, k)."""
        values = self.values.astype(np.float64)
        near = values > values.max(axis=1, keepdims=True) - _OUT_OF_QUESTION
        largest = np.where(near, np.abs(values), 0.0).max(axis=1, keepdims=True)
        scale: NDArray[np.float64] = np.maximum(np.abs(values), largest)
        return scale

    def _found(self, labels: NDArray[Any]) -> NDArray[np.float64]:
        at = self.classes.astype(np.int64)
        found = np.take_along_axis(labels, at, axis=1).astype(np.float64)
        return found / found.sum(axis=1, keepdims=True) if self.shares else found

    def of_samples(
        self,
        sample_ids: NDArray[np.uint64],
        known: NDArray[np.uint64],
        partners: Callable[[Views], Views],
    ) -> Self:
        """Those that a part of the data set can render.

        Args:
            sample_ids: uint64: samples whose labels are asked for.
            known: uint64: samples whose images are there.
            partners: gives the view that each view is mixed with, or the view itself.
        """
        chosen = np.isin(self.views.sample_ids, sample_ids)
        chosen &= np.isin(self.views.sample_ids, known)
        own = self.views[np.flatnonzero(chosen)]
        chosen[chosen] = np.isin(partners(own).sample_ids, known)
        return replace(
            self,
            images=self.images.only(chosen),
            classes=self.classes[chosen],
            values=self.values[chosen],
        )

    def as_probabilities(self, temperature: float) -> Self:
        """Of logits: for labels that are delivered as a softmax at this temperature."""
        scaled = self.values.astype(np.float64) / temperature
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares = exponentials / exponentials.sum(axis=1, keepdims=True)
        return replace(self, values=shares.astype(np.float32), shares=True)

    def to_bytes(self) -> bytes:
        """The one spelling; see FORMAT.md."""
        images = self.images
        count, kept = self.classes.shape
        channels = images.steps.shape[1]
        header = _HEADER.pack(count, channels, *images.size, kept, images.low, images.high)
        columns = (
            self.views.sample_ids.astype("<u8"),
            self.views.seeds.astype("<u4"),
            images.steps,
            self.classes.astype("<u4"),
            self.values.astype("<f4"),
        )
        return _MAGIC + header + b"".join(column.tobytes() for column in columns)

    @classmethod
    def from_bytes(cls, content: bytes, num_classes: int) -> Self:
        """Read strictly.

        Args:
            content: of the part.
            num_classes: C of the label set.

        Raises:
            ManifestError: another format, another size than it says, or impossible values.
        """
        start = len(_MAGIC) + _HEADER.size
        if len(content) < start or not content.startswith(_MAGIC):
            raise ManifestError(f"parts.{CONTROL_PART} is of another format than this reads")
        header = _HEADER.unpack(content[len(_MAGIC) : start])
        count, channels, height, width, kept, low, high = header
        layout = (
            ("<u8", (count,)),
            ("<u4", (count,)),
            ("u1", (count, channels, SIDE, SIDE)),
            ("<u4", (count, kept)),
            ("<f4", (count, kept)),
        )
        sizes = [
            np.dtype(dtype).itemsize * int(np.prod(shape, dtype=object)) for dtype, shape in layout
        ]
        if 0 in (*sizes, height, width) or start + sum(sizes) != len(content):
            raise ManifestError(f"parts.{CONTROL_PART} has not the size that it says")
        columns, at = list[NDArray[Any]](), start
        for (dtype, shape), size in zip(layout, sizes, strict=True):
            columns.append(np.frombuffer(content[at : at + size], dtype=dtype).reshape(shape))
            at += size
        ids, seeds, steps, classes, values = columns
        rising = (ids[1:] > ids[:-1]) | ((ids[1:] == ids[:-1]) & (seeds[1:] > seeds[:-1]))
        if not rising.all():
            raise ManifestError(f"parts.{CONTROL_PART}: its views are not in rising order")
        if not (classes[:, 1:] > classes[:, :-1]).all() or classes.max() >= num_classes:
            raise ManifestError(
                f"parts.{CONTROL_PART}: classes do not rise, or go beyond the {num_classes} classes"
            )
        if not (np.isfinite(values).all() and np.isfinite([low, high]).all() and low < high):
            raise ManifestError(f"parts.{CONTROL_PART} holds values that are no numbers")
        views = Views(ids.astype(np.uint64), seeds.astype(np.uint32))
        of_views = (height, width)
        images = ControlImages(views=views, size=of_views, low=low, high=high, steps=steps)
        return cls(
            images=images, classes=classes.astype(np.uint32), values=values.astype(np.float32)
        )
