"""Which stored views a request means, if not every view is stored."""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import philox
from labelcast.errors import InvalidRequestError, ViewNotFoundError
from labelcast.label_set.index.whole import ViewIndex
from labelcast.views import Views

# Keeps these counters apart from those of records and orders.
_LAST_WORD = 0xFFFFFFFC


class MissingViews(StrEnum):
    """What to do about views that a label set lacks."""

    REFUSE = "refuse"  # a ViewNotFoundError that names the first
    DROP = "drop"  # they are left out
    DRAW = "draw"  # each becomes a stored view of its sample, drawn by its own seed
    DRAW_ALL = "draw-all"  # every view does: the seeds are draw numbers

    @classmethod
    def _missing_(cls, value: object) -> "MissingViews":
        raise InvalidRequestError(
            f"what becomes of missing views must be one of {', '.join(cls)}, not {value!r}"
        )


class StoredViews:
    """The stored views of every sample of a label set.

    Drawing is a pure function of (label set, sample ID, draw number): the same on every machine,
    and with replacement, as LPLD (arXiv 2410.15919) trains.

    Args:
        index: index of every view.
    """

    def __init__(self, index: ViewIndex) -> None:
        self._index = index

    def resolve(self, views: Views, missing: MissingViews) -> tuple[Views, NDArray[np.int64]]:
        """Find the stored views that a request means.

        Args:
            views: requested views.
            missing: what happens to views that are not stored.

        Returns:
            The views, and which rows of the request they answer: int64, increasing.

        Raises:
            ViewNotFoundError: a view is refused, or a sample has no stored view.
        """
        every = np.arange(len(views))
        # Text would be none of them, and views be drawn that were to be refused.
        missing = MissingViews(missing)
        if missing is MissingViews.DRAW_ALL:
            return self.draw(views.sample_ids, views.seeds), every
        if missing is MissingViews.REFUSE:
            self._index.locate(views)
            return views, every
        stored = self._index.holds(views)
        if missing is MissingViews.DROP:
            rows = np.flatnonzero(stored)
            return views[rows], rows
        seeds = views.seeds.copy()
        lacking = np.flatnonzero(~stored)
        seeds[lacking] = self.draw(views.sample_ids[lacking], views.seeds[lacking]).seeds
        return Views(views.sample_ids, seeds), every

    def draw(self, sample_ids: NDArray[np.uint64], draws: NDArray[np.uint32]) -> Views:
        """Draw one stored view of each sample.

        Args:
            sample_ids: uint64, shape (N,).
            draws: uint32, shape (N,): number of the draw of each sample.

        Raises:
            ViewNotFoundError: a sample has no stored view.
        """
        positions, counts = self._counts(sample_ids)
        total = counts.sum(axis=0)
        low = (sample_ids & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        high = (sample_ids >> np.uint64(32)).astype(np.uint32)
        words = philox((low, high, draws, np.full_like(draws, _LAST_WORD)), 0)
        chosen = ((words[0].astype(np.uint64) * total.astype(np.uint64)) >> np.uint64(32)).astype(
            np.int64
        )
        return Views(sample_ids, self._nth_seeds(positions, counts, chosen))

    def count_views(self, sample_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Stored views of each sample, of a sequence its labels: int64, shape (N,).

        Raises:
            ViewNotFoundError: a sample has no stored view.
        """
        counted: NDArray[np.int64] = self._counts(sample_ids)[1].sum(axis=0)
        return counted

    def nth_seeds(
        self, sample_ids: NDArray[np.uint64], numbers: NDArray[np.int64]
    ) -> NDArray[np.uint32]:
        """Seed of each sample's n-th stored view, segment after segment: uint32, shape (N,).

        Args:
            sample_ids: uint64, shape (N,).
            numbers: int64, shape (N,), each from 0 to the sample's `count_views` − 1.

        Raises:
            ViewNotFoundError: a sample has no stored view.
        """
        positions, counts = self._counts(sample_ids)
        return self._nth_seeds(positions, counts, numbers)

    def _counts(
        self, sample_ids: NDArray[np.uint64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Position of each sample in each segment, and its views there: int64, (segments, N)."""
        segments = self._index.segments
        positions = np.empty((len(segments), len(sample_ids)), dtype=np.int64)
        counts = np.empty_like(positions)
        for number, segment in enumerate(segments):
            positions[number], known = segment.sample_positions(sample_ids)
            counts[number] = np.where(known, segment.count_views(positions[number]), 0)
        some = counts.any(axis=0)
        if not some.all():
            stranger = int(sample_ids[int(np.argmin(some))])
            raise ViewNotFoundError(
                f"the label set has no view of sample ID {stranger}", sample_id=stranger
            )
        return positions, counts

    def _nth_seeds(
        self,
        positions: NDArray[np.int64],
        counts: NDArray[np.int64],
        numbers: NDArray[np.int64],
    ) -> NDArray[np.uint32]:
        seeds = np.zeros(len(numbers), dtype=np.uint32)
        for segment, position, count in zip(self._index.segments, positions, counts, strict=True):
            inside = np.flatnonzero((numbers >= 0) & (numbers < count))
            seeds[inside] = segment.nth_seeds(position[inside], numbers[inside])
            # What was found turns negative, and stays negative.
            numbers = np.where(numbers >= 0, numbers - count, numbers)
        return seeds
