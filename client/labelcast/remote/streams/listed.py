"""The protocol of a label stream without input and output: no sockets, no threads, no clock.

`LabelClient` and `AsyncLabelClient` are thin shells around this.

Rules:
  * rows arrive in the order of their requests, each exactly once, or an error is raised;
  * a reply is accepted only if it proves to be for the views that come next; any other changes
    nothing;
  * at most `rows_in_flight` rows are requested and not yet answered, besides one request;
  * rows are numbered over the whole run: after `rewind` a new stream continues with the first row
    that has not been answered, under its old number.
"""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from labelcast import wire
from labelcast.codec import Rows
from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.opening.delivered import DeliveredLabels
from labelcast.remote.streams.exchange import Exchange
from labelcast.representation import Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views, check_views

# Enough that the service is never without work: eight messages of codes.
DEFAULT_WINDOW_BYTES = 2**21
DEFAULT_WINDOW_ROWS = 2**14
# What the service decodes at once are fewer.
_REQUEST_ROWS = 2**13


def default_window(row_stride: int) -> int:
    """Number of rows of so many bytes that are requested ahead where nobody says how many."""
    return max(DEFAULT_WINDOW_ROWS, DEFAULT_WINDOW_BYTES // row_stride)


class StreamExchange(Exchange):
    """State of one label stream.

    Args:
        label_set: digest of the label set.
        representation: form of the labels.
        row_stride: bytes of a delivered row.
        num_classes: number of classes, C.
        batches: batches of views to deliver, in order; read lazily, ahead of delivery, so it must
            not wait for delivery.
        spans: whether the service knows spans of consecutive positions.
        rows_in_flight: number of rows to request ahead, at least 1; None for `DEFAULT_WINDOW_BYTES`
            of them, but at least `DEFAULT_WINDOW_ROWS`.

    Raises:
        InvalidRequestError: `rows_in_flight` is below 1.
    """

    def __init__(
        self,
        *,
        label_set: Digest,
        representation: Representation,
        row_stride: int,
        num_classes: int,
        batches: Iterable[Views],
        spans: bool,
        rows_in_flight: int | None,
    ) -> None:
        if rows_in_flight is None:
            rows_in_flight = default_window(row_stride)
        if rows_in_flight < 1:
            raise InvalidRequestError(f"rows_in_flight is {rows_in_flight}, must be at least 1")
        super().__init__(
            label_set=label_set,
            representation=representation,
            row_stride=row_stride,
            num_classes=num_classes,
            first_row=0,
        )
        self._batches = iter(batches)
        self._names_spans = spans
        self._rows_in_flight = rows_in_flight
        # The service decodes as many at once as it likes, and sends as many as a message holds. The
        # window admits two: the second tells the service if the first was lost.
        self._request_rows = min(
            max(_REQUEST_ROWS, wire.MESSAGE_BYTES // row_stride), max(1, rows_in_flight // 2)
        )
        self._undelivered: deque[Views] = deque()
        self._unasked: deque[Views] = deque()
        self._unanswered: deque[Views] = deque()
        self._asked_rows = 0
        self._parts: list[Rows] = []
        self._ended = False
        self._failure: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether every batch, up to a possible failure to read one, has been delivered."""
        return self._ended and not self._undelivered

    @property
    def owes_reply(self) -> bool:
        """Whether the service must send something: rows, or the end of the stream."""
        return self._asked_rows > self._answered_rows or self._ended

    @property
    def has_room(self) -> bool:
        """Whether the window admits another request."""
        return self._asked_rows - self._answered_rows < self._rows_in_flight

    def opening(self) -> pb.StreamLabelsRequest:
        """First message of a stream."""
        return pb.StreamLabelsRequest(
            label_set=self._label_set,
            representation=self._form,
            first_row=self._answered_rows,
        )

    @property
    def wants_batch(self) -> bool:
        """Whether the next request should wait for more views than have been read.

        It waits until it is full while the service is busy, and never while the service has nothing
        to do: then the batches come more slowly than their labels.
        """
        unasked = sum(len(views) for views in self._unasked)
        idle = self._asked_rows == self._answered_rows
        return unasked < (1 if idle else self._request_rows) and not self._ended

    def read_batch(self) -> Views | BaseException | None:
        """Read the caller's next batch: None after the last, or the error of reading it.

        Touches no other state: a threaded shell may wait here without holding its lock, as long as
        batches are offered in the order in which they were read.
        """
        try:
            batch = next(self._batches)
        except StopIteration:
            return None
        except BaseException as error:  # noqa: BLE001 - raised where its batch would have come
            return error
        # Checked before the answer is told apart: an item None is no end, an error no failure.
        try:
            check_views(batch)
        except InvalidRequestError as error:
            return error
        return batch

    def offer(self, batch: Views | BaseException | None) -> None:
        """Take the result of `read_batch`."""
        if batch is None:
            self._ended = True
        elif isinstance(batch, BaseException):
            self._ended, self._failure = True, batch
        elif not len(batch):
            self._ended = True
            self._failure = InvalidRequestError("a batch of views must not be empty")
        else:
            self._undelivered.append(batch)
            self._unasked.append(batch)

    def next_request(self) -> pb.StreamLabelsRequest | None:
        """Next message, or None once everything has been requested. Call only with room."""
        while self.wants_batch:
            self.offer(self.read_batch())
        views = self._take()
        if views is None:
            return None
        first_row = self._asked_rows
        self._unanswered.append(views)
        self._asked_rows += len(views)
        listed, spans = wire.named_views(views, spans=self._names_spans)
        return pb.StreamLabelsRequest(first_row=first_row, views=listed, spans=spans)

    def accept(self, message: pb.LabelRows | wire.ReceivedRows) -> Iterator[DeliveredLabels]:
        """Accept a reply; yields the batches that it completes.

        Raises:
            ProtocolError: the rows were not requested, or are out of order.
            ChecksumMismatchError: the rows are damaged.
            WrongSubjectError: the rows belong to other views than those that come next.
        """
        self._require_asked(message, self._asked_rows - self._answered_rows)
        rows = self._proven(message, self._next_unanswered(message.count))
        self._forget_answered(len(rows))
        self._parts.append(rows)
        yield from self._complete()

    def raise_failure(self) -> None:
        """Once done: raise the error of reading `batches`, where its batch would have come."""
        if self._failure is not None:
            raise self._failure

    def rewind(self) -> None:
        """Continue in a new stream after the last one broke."""
        self._unasked.extendleft(reversed(self._unanswered))
        self._unanswered.clear()
        self._asked_rows = self._answered_rows

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
        return Views.joined(taken) if taken else None

    def _next_unanswered(self, count: int) -> Views:
        parts: list[Views] = []
        for views in self._unanswered:
            if count <= 0:
                break
            parts.append(views[:count])
            count -= len(views)
        return Views.joined(parts)

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
            # Usually a batch lies within one message, and is a slice of it.
            whole = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
            whole.flags.writeable = False
            self._parts = [whole[wanted:]] if len(whole) > wanted else []
            batch = self._undelivered.popleft()
            yield self._delivered(batch, whole[:wanted])
