"""`AskedLabels`: the labels of one batch, asked for before they are wanted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelcast.opening.loops.read_labels import ReadLabels
from labelcast.opening.pending_labels import PendingLabels
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class Request:
    """What of a batch was asked for.

    Attributes:
        views: N views.
        stored: bool, shape (N,): those that were asked for.
        calls: number of rows that each asks for, and the call; in the order of the views.
        outages: outages that had begun then; see `Misses`.
    """

    views: Views
    stored: NDArray[np.bool_]
    calls: Sequence[tuple[int, PendingLabels]]
    outages: int

    def cancel(self) -> None:
        """Leave no call behind."""
        for _, call in self.calls:
            call.cancel()


class AskedLabels:
    """Labels that are on their way; take `result` or `cancel` them.

    Args:
        request: what was asked for.
        finish: waits for it.
    """

    def __init__(self, request: Request, finish: Callable[[Request], ReadLabels]) -> None:
        self._request = request
        self._finish = finish
        self._read: ReadLabels | None = None
        self.done = False
        """Whether nothing is on its way any more."""

    @property
    def views(self) -> Views:
        """The views that were asked for."""
        return self._request.views

    def result(self) -> ReadLabels:
        """Wait for the labels as the reader was told to; once they are here, they are kept.

        Raises:
            ViewNotFoundError: a view that the label set lacks, unless that is a miss.
            InvalidRequestError: this was cancelled, or failed before.
            LabelcastError: whatever is no miss; it cancels the request.
        """
        if self._read is None:
            try:
                self._read = self._finish(self._request)
            except BaseException:
                self.cancel()
                raise
            self.done = True
        return self._read

    def cancel(self) -> None:
        """Want the labels no longer; no call is left behind."""
        self.done = True
        self._request.cancel()
