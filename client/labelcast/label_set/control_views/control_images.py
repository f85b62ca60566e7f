"""How a few views looked to the teacher."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ContractMismatchError
from labelcast.label_set.control_views.thumbnails import PIXEL_TOLERANCE, SIDE, thumbnails
from labelcast.views import Views

_STEPS = 255


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class ControlImages:
    """Thumbnails of V views.

    Attributes:
        views: the views, in rising order of sample ID, then seed.
        size: height and width of the views in pixels.
        low, high: pixel values that steps 0 and 255 mean; of fp32.
        steps: uint8, shape (V, channels, 8, 8): means of cells, rounded.
    """

    views: Views
    size: tuple[int, int]
    low: float
    high: float
    steps: NDArray[np.uint8]

    @classmethod
    def of(cls, views: Views, rendered: NDArray[Any]) -> Self:
        """Take the thumbnails of views.

        Args:
            views: V views, in any order.
            rendered: float, shape (V, channels, height, width): the views as they are given to the
                teacher.
        """
        means = thumbnails(rendered)
        low, high = 0.0, 1.0
        if means.min() < low or means.max() > high:
            # Pixels of another range, such as normalised ones; never an empty range.
            low = float(np.floor(means.min()))
            high = float(max(np.ceil(means.max()), low + 1))
        steps = np.rint((means - low) / (high - low) * _STEPS).astype(np.uint8)
        order = np.lexsort((views.seeds, views.sample_ids))
        height, width = rendered.shape[2:]
        return cls(views=views[order], size=(height, width), low=low, high=high, steps=steps[order])

    def __len__(self) -> int:
        return len(self.views)

    def only(self, chosen: NDArray[np.bool_]) -> Self:
        """Those that are chosen: bool, shape (V,)."""
        return replace(self, views=self.views[np.flatnonzero(chosen)], steps=self.steps[chosen])

    def distances(self, rendered: NDArray[Any]) -> NDArray[np.float64]:
        """Largest difference of each view's means, in steps: float64, shape (V,).

        It is not a number where a pixel is none.

        Args:
            rendered: float, shape (V, channels, height, width).

        Raises:
            ContractMismatchError: the images have another number of channels, or another size.
        """
        shape = (*self.steps.shape[:2], *self.size)
        if rendered.shape != shape:
            raise ContractMismatchError(
                f"{len(self)} control views are rendered to shape {rendered.shape}, the teacher's"
                f" to {shape}: as views, channels, height, width",
                field="control_views",
                expected=shape,
                actual=rendered.shape,
            )
        means = (thumbnails(rendered) - self.low) / (self.high - self.low) * _STEPS
        differences = np.abs(means - self.steps).reshape(len(self), shape[1] * SIDE * SIDE)
        largest: NDArray[np.float64] = differences.max(axis=1)
        return largest

    def require(self, rendered: NDArray[Any]) -> None:
        """Refuse views that look otherwise than to the teacher.

        Args:
            rendered: float, shape (V, channels, height, width).

        Raises:
            ContractMismatchError: says how many views differ, and the first with its distance.
        """
        distances = self.distances(rendered)
        # Asked so that what is no number differs.
        differing = np.flatnonzero(~(distances <= PIXEL_TOLERANCE))
        if not len(differing):
            return
        first = int(differing[0])
        sample_id, seed = self.views.sample_ids[first], self.views.seeds[first]
        raise ContractMismatchError(
            f"{len(differing)} of {len(self)} control views look otherwise than to the teacher: the"
            f" 8 × 8 means of sample ID {sample_id}, seed {seed} differ by up to"
            f" {distances[first]:.0f}/255, {PIXEL_TOLERANCE:.0f}/255 are allowed; make these views"
            " as the teacher's were made: decoding, size, channels, range of pixels, policy and"
            " seeds",
            field="control_views",
            expected=PIXEL_TOLERANCE,
            actual=float(distances[first]),
            sample_id=sample_id,
            seed=seed,
        )
