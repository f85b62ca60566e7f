"""Ordered, bounded read-ahead on a thread."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Prefetch(Generic[Item]):
    """Runs an iterable ahead of its consumer.

    Items come in order; an exception of the iterable is raised where its item would have come.
    Close it, or use it as a context manager: an abandoned one would wait for ever.

    Args:
        source: iterated on a thread of its own, which closes it if it is a generator.
        depth: items kept ready.
    """

    def __init__(self, source: Iterable[Item], depth: int) -> None:
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
            elif isinstance(end, StopIteration):
                return
            else:
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

    def __enter__(self) -> "Prefetch[Item]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        source = iter(self._source)
        try:
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
