"""Ordered, bounded read-ahead on a thread."""

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from labelcast.errors import InvalidRequestError

Item = TypeVar("Item")


class Prefetch(Generic[Item]):
    """Runs an iterable ahead of its consumer.

    Items come in order; an exception of the iterable is raised where its item would have come.
    Close it, or use it as a context manager: an abandoned one would wait forever. Iterating after
    the end, or while it is closed, ends at once.

    Args:
        source: iterable that runs on its own thread, which closes it if it is a generator.
        depth: items kept ready, at least 1.

    Raises:
        InvalidRequestError: the depth is below 1, which would mean no bound.
    """

    def __init__(self, source: Iterable[Item], depth: int) -> None:
        if depth < 1:
            raise InvalidRequestError(f"read-ahead of {depth} items; it must be at least 1")
        self._source = source
        self._ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="labelcast-prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while True:
            item, end = self._ready.get()
            if end is None:
                yield item  # type: ignore[misc]
                continue
            self._leave(end)
            if isinstance(end, StopIteration):
                return
            raise end

    def close(self) -> None:
        """Stop reading ahead and wait for the thread."""
        self._closed.set()
        while self._thread.is_alive():
            try:
                self._ready.get(timeout=0.05)
            except queue.Empty:
                continue
        self._thread.join()
        with contextlib.suppress(queue.Empty):
            while True:
                self._ready.get_nowait()
        self._leave(StopIteration())

    def __enter__(self) -> "Prefetch[Item]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _leave(self, end: BaseException) -> None:
        # For other waiting or later iterators; if the queue is full, it already holds an end.
        with contextlib.suppress(queue.Full):
            self._ready.put_nowait((None, end))

    def _run(self) -> None:
        source: Iterator[Item] | None = None
        try:
            source = iter(self._source)
            for item in source:
                self._ready.put((item, None))
                if self._closed.is_set():
                    return
            self._ready.put((None, StopIteration()))
        except BaseException as error:  # noqa: BLE001 - raised again where the consumer is
            self._ready.put((None, error))
        finally:
            close = getattr(source, "close", None)
            if close is not None:
                close()
