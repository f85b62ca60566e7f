"""Batches asked for one by one, ahead of the loop and in its order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable

from labelcast.opening.drawn_views import DrawnViews
from labelcast.opening.loops.asked_labels import AskedLabels
from labelcast.opening.loops.read_labels import ReadLabels
from labelcast.views import Views

# Enough for any way to a service; each is a call.
_BATCHES_AHEAD = 8


class ReadAhead:
    """Asks ahead of the loop, on its own thread.

    Args:
        batches: batches of the loop, read lazily.
        ask: asks for one.
        most_rows: labels to ask for ahead, besides one batch.
    """

    def __init__(
        self,
        batches: Iterable[Views | DrawnViews],
        ask: Callable[[Views | DrawnViews], AskedLabels],
        most_rows: int,
    ) -> None:
        self._batches = iter(batches)
        self._ask = ask
        self._most_rows = most_rows
        self._ahead = deque[tuple[Views | DrawnViews, AskedLabels]]()
        self._ended = False
        self._failure: Exception | None = None

    def read(self) -> Generator[tuple[Views | DrawnViews, ReadLabels]]:
        """Each batch and its labels; closing it cancels what is on its way."""
        try:
            while True:
                while self._has_room:
                    self._ask_for_next()
                if not self._ahead:
                    break
                batch, asked = self._ahead.popleft()
                yield batch, asked.result()
        finally:
            for _, asked in self._ahead:
                asked.cancel()
        if self._failure is not None:
            raise self._failure

    @property
    def _has_room(self) -> bool:
        rows = sum(len(asked.views) for _, asked in self._ahead)
        return not self._ended and len(self._ahead) < _BATCHES_AHEAD and rows < self._most_rows

    def _ask_for_next(self) -> None:
        try:
            batch = next(self._batches)
            self._ahead.append((batch, self._ask(batch)))
        except StopIteration:
            self._ended = True
        except Exception as error:  # noqa: BLE001 - raised where the batch would have come
            self._ended, self._failure = True, error
