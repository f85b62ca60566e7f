"""What a synchronous stream leaves to other threads: its requests, and a watch over replies."""

import threading
import time
from collections.abc import Iterator
from typing import Any, Self

from labelcast.remote.streams.listed import StreamExchange
from labelcast.remote.streams.planned import PlanExchange
from labelcast.remote.streams.stalls import CHECKS, StallWatch, WatchedStream
from labelcast.v2 import labels_pb2 as pb


class Watch(StallWatch):
    """Cancels a call that stalls, from a thread."""

    def __init__(self, exchange: WatchedStream, seconds: float) -> None:
        super().__init__(exchange, seconds)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def over(self, call: Any) -> Iterator[bytes]:
        """The replies of a call."""
        self._thread = threading.Thread(
            target=self._look, args=(call,), name="labelcast-stalls", daemon=True
        )
        self._thread.start()
        while True:
            self.waiting = True
            reply = next(call, None)
            self.waiting = False
            if reply is None:
                return
            yield reply

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self, call: Any) -> None:
        while not self._closed.wait(self._seconds / CHECKS):
            if self.look(time.monotonic()):
                call.cancel()
                return


def requests_of(
    exchange: StreamExchange | PlanExchange, condition: threading.Condition, reading: threading.Lock
) -> "Requests | pb.StreamPlanRequest":
    """What a call sends: requests as they are made, or the one that asks for a whole plan."""
    if isinstance(exchange, PlanExchange):
        return exchange.request()
    return Requests(exchange, condition, reading)


class Requests:
    """Request side of a synchronous stream, which gRPC iterates on its own thread.

    Args:
        exchange: exchange shared with the reply side.
        condition: condition that guards the exchange.
        reading: lock held while a batch is read and offered. Successive streams share both locks:
            the thread of a broken one may still be reading when the next one begins.
    """

    def __init__(
        self, exchange: StreamExchange, condition: threading.Condition, reading: threading.Lock
    ) -> None:
        self._exchange = exchange
        self.condition = condition
        self._reading = reading
        self._opened = False
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> pb.StreamLabelsRequest:
        if not self._opened:
            self._opened = True
            return self._exchange.opening()
        while True:
            with self.condition:
                self.condition.wait_for(lambda: self._closed or self._exchange.has_room)
                if not self._closed and not self._exchange.wants_batch:
                    request = self._exchange.next_request()
                    if request is not None:
                        return request
                    self._closed = True
                if self._closed:
                    raise StopIteration
            self._read_batch()

    def _read_batch(self) -> None:
        # The caller's iterable may be slow: replies must still be delivered meanwhile.
        with self._reading:
            with self.condition:
                # The thread of a broken stream may have read the wanted batch, or the end.
                if self._closed or not self._exchange.wants_batch:
                    return
            batch = self._exchange.read_batch()
            with self.condition:
                self._exchange.offer(batch)

    def close(self) -> None:
        """Request nothing more."""
        with self.condition:
            self._closed = True
            self.condition.notify_all()
