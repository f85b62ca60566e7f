"""What is said on a label stream, without saying it: no sockets, no threads, no clock.

`LabelClient` and `AsyncLabelClient` are thin shells around this.

Rules:
  * rows arrive in the order they were asked for, each exactly once, or an error is raised;
  * at most `rows_in_flight` rows are asked for and not yet answered, beside one request;
  * after `rewind` a new stream goes on with the first row that has not been delivered.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast import wire
from labelcast.codec import Labels, Rows
from labelcast.codec.topk import split_top_k
from labelcast.errors import InvalidRequestError, ProtocolError
from labelcast.representation import Form, Representation
from labelcast.v1 import labels_pb2 as pb
from labelcast.views import Views


@dataclass(frozen=True, eq=False, slots=True)
class DeliveredLabels:
    """Labels of one batch, in the order of its views.

    Attributes:
        views: what was asked for.
        rows: uint8, shape (N, stride), read-only; the bytes as they came.
        representation: what the bytes are.
        num_classes: C.
    """

    views: Views
    rows: Rows
    representation: Representation
    num_classes: int

    @property
    def values(self) -> NDArray[Any]:
        """Dense labels, zero-copy: fp16 or fp32, shape (N, C).

        Raises:
            InvalidRequestError: the rows are codes or top-k.
        """
        if self.representation.form not in (Form.LOGITS, Form.PROBABILITIES):
            raise InvalidRequestError(
                f"these rows are {self.representation.form}, not dense labels;"
                " decode codes with the label set's codec"
            )
        return self.rows.view(self.representation.dtype)

    def top_k(self) -> tuple[NDArray[np.int64], Labels]:
        """Class IDs (int64) and probabilities (float32), each of shape (N, k).

        Raises:
            InvalidRequestError: the rows are not top-k.
        """
        if self.representation.k is None:
            raise InvalidRequestError(f"these rows are {self.representation.form}, not top-k")
        return split_top_k(self.rows, self.representation.k, self.num_classes)


class StreamExchange:
    """State of one label stream.

    Args:
        label_set: digest.
        representation: form of the labels.
        row_stride: bytes of a delivered row.
        num_classes: C.
        batches: what to deliver, in order; read lazily, ahead of what has been delivered, so it
            must not wait for that.
        rows_in_flight: read-ahead, at least 1.

    Raises:
        InvalidRequestError: a window that would admit nothing.
    """

    def __init__(
        self,
        *,
        label_set: str,
        representation: Representation,
        row_stride: int,
        num_classes: int,
        batches: Iterable[Views],
        rows_in_flight: int,
    ) -> None:
        if rows_in_flight < 1:
            raise InvalidRequestError(f"rows_in_flight is {rows_in_flight}, must be at least 1")
        self._label_set = label_set
        self._representation = representation
        self._row_stride = row_stride
        self._num_classes = num_classes
        self._batches = iter(batches)
        self._rows_in_flight = rows_in_flight
        # A request whose answer fills one message; more would only delay the first rows.
        self._request_rows = max(1, min(wire.MESSAGE_BYTES // row_stride, rows_in_flight))
        self._undelivered: deque[Views] = deque()
        self._unasked: deque[Views] = deque()
        self._unanswered: deque[Views] = deque()
        self._asked_rows = 0
        self._answered_rows = 0
        self._stream_row = 0
        self._parts: list[Rows] = []
        self._exhausted = False
        self._failure: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether every batch has been delivered."""
        return self._exhausted and not self._undelivered

    @property
    def has_room(self) -> bool:
        """Whether the window admits another request."""
        return self._asked_rows - self._answered_rows < self._rows_in_flight

    def opening(self) -> pb.StreamLabelsRequest:
        """First message of a stream."""
        return pb.StreamLabelsRequest(
            label_set=self._label_set,
            representation=wire.representation_to_proto(self._representation),
        )

    @property
    def wants_batch(self) -> bool:
        """Whether the next request could hold more views than have been read."""
        unasked = sum(len(views) for views in self._unasked)
        return unasked < self._request_rows and not (self._exhausted or self._failure)

    def read_batch(self) -> Views | Exception | None:
        """The caller's next batch, None after the last, or what reading it raised.

        Touches no other state: a shell with threads may wait here without holding its lock, as
        long as batches are offered in the order in which they were read.
        """
        try:
            batch = next(self._batches)
        except StopIteration:
            return None
        except Exception as error:  # noqa: BLE001 - raised where its batch would have come
            return error
        # Checked before the answer is told apart: an item None is no end, an error no failure.
        if not isinstance(batch, Views):
            return InvalidRequestError(
                f"a batch must be Views, not {type(batch).__name__};"
                " build it with Views.of(sample_ids, seeds)"
            )
        return batch

    def offer(self, batch: Views | Exception | None) -> None:
        """Take what `read_batch` gave."""
        if batch is None:
            self._exhausted = True
        elif isinstance(batch, Exception):
            self._failure = batch
        elif not len(batch):
            self._failure = InvalidRequestError("a batch of views must not be empty")
        else:
            self._undelivered.append(batch)
            self._unasked.append(batch)

    def next_request(self) -> pb.StreamLabelsRequest | None:
        """Next message, or None once everything has been asked for. Call only with room.

        Raises:
            Whatever reading `batches` raised, where its batch would have come.
        """
        while self.wants_batch:
            self.offer(self.read_batch())
        views = self._take()
        if views is None:
            return None
        self._unanswered.append(views)
        self._asked_rows += len(views)
        return pb.StreamLabelsRequest(views=wire.views_to_proto(views))

    def accept(self, message: pb.LabelRows) -> Iterator[DeliveredLabels]:
        """Take a reply; yields the batches that it completes.

        Raises:
            ProtocolError: rows that nobody asked for, or out of order.
            ChecksumMismatchError: damaged rows.
        """
        rows = wire.rows_from_proto(message, first_row=self._stream_row, stride=self._row_stride)
        if self._answered_rows + len(rows) > self._asked_rows or not len(rows):
            raise ProtocolError("the service sent rows that nobody asked for")
        self._stream_row += len(rows)
        self._answered_rows += len(rows)
        self._forget_answered(len(rows))
        self._parts.append(rows)
        yield from self._complete()

    def finish(self) -> None:
        """The service closed the stream.

        Raises:
            ProtocolError: rows are missing.
        """
        if not self.done:
            raise ProtocolError("the service closed the stream before the last row")

    def rewind(self) -> None:
        """Go on in a new stream after the last one broke."""
        self._unasked.extendleft(reversed(self._unanswered))
        self._unanswered.clear()
        self._asked_rows = self._answered_rows
        self._stream_row = 0

    def _take(self) -> Views | None:
        taken: list[Views] = []
        room = self._request_rows
        while room and self._unasked:
            head = self._unasked.popleft()
            if len(head) > room:
                self._unasked.appendleft(head[room:])
                head = head[:room]
            taken.append(head)
            room -= len(head)
        if not taken:
            if self._failure is not None:
                raise self._failure
            return None
        return Views(
            np.concatenate([views.sample_ids for views in taken]),
            np.concatenate([views.seeds for views in taken]),
        )

    def _forget_answered(self, count: int) -> None:
        while count:
            head = self._unanswered.popleft()
            if len(head) > count:
                self._unanswered.appendleft(head[count:])
                return
            count -= len(head)

    def _complete(self) -> Iterator[DeliveredLabels]:
        while self._undelivered:
            wanted = len(self._undelivered[0])
            if sum(len(part) for part in self._parts) < wanted:
                return
            # Mostly a batch lies within one message, and is a slice of it.
            whole = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
            whole.flags.writeable = False
            self._parts = [whole[wanted:]] if len(whole) > wanted else []
            batch = self._undelivered.popleft()
            yield DeliveredLabels(batch, whole[:wanted], self._representation, self._num_classes)
