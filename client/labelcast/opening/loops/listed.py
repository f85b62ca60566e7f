"""Batches as a stream asks for them, and as the loop gave them."""

from collections import deque
from collections.abc import Iterable, Iterator

from labelcast.opening.drawn_views import DrawnViews
from labelcast.opening.label_reader import LabelReader
from labelcast.plans import PlanBatches
from labelcast.views import Views


class Listed:
    """Batches of views that a stream reads on a thread of its own, ahead of the loop.

    Args:
        reader: knows which views may be asked for.
        batches: batches of the loop.

    Attributes:
        views: what the stream asks for: of a plan, the plan itself, which a service expands.
    """

    def __init__(self, reader: LabelReader, batches: Iterable[Views | DrawnViews]) -> None:
        self._reader = reader
        # As many as the stream has asked for ahead.
        self._given = deque[Views | DrawnViews]()
        self._planned: Iterator[Views] | None = None
        self.views: Iterable[Views]
        if isinstance(batches, PlanBatches):
            self._planned, self.views = iter(batches), batches
        else:
            self.views = self._noted(batches)

    def next(self) -> Views | DrawnViews:
        """The batch whose labels came next."""
        if self._planned is None:
            return self._given.popleft()
        views = next(self._planned)
        self._reader.views_of(views)
        return views

    def _noted(self, batches: Iterable[Views | DrawnViews]) -> Iterator[Views]:
        for batch in batches:
            views = self._reader.views_of(batch)
            self._given.append(batch)
            yield views
