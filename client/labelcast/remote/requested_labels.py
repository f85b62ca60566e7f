"""`RequestedLabels`: one batch on its way, on gRPC's threads and none of ours."""

import time
from collections.abc import Callable
from typing import Any

from labelcast.errors import DeadlineExceededError, InvalidRequestError, LabelcastError
from labelcast.network.places import Place
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.pending_labels import PendingLabels
from labelcast.remote.retry import PASSING, UNPROVEN, Retries
from labelcast.remote.transport import CallCancelledError, CallTimeoutError, RpcError


class RequestedLabels(PendingLabels):
    """A call that was started, and is repeated while somebody waits for it.

    Args:
        start: starts the call; returns the server that it asks, and gRPC's future.
        read: verifies a reply.
        retries: makes retries, of so many seconds for all attempts; None for the client's own.
        translated: translates gRPC's errors.
    """

    def __init__(
        self,
        *,
        start: Callable[[], tuple[Place, Any]],
        read: Callable[[bytes], DeliveredLabels],
        retries: Callable[[float | None, bool], Retries],
        translated: Callable[[RpcError, Place], LabelcastError],
    ) -> None:
        self._start = start
        self._read = read
        self._retries = retries
        self._translated = translated
        self._place, self._call = start()
        self._cancelled = False

    def result(self, seconds: float | None = None, *, again: bool = True) -> DeliveredLabels:
        """See `PendingLabels`."""
        doubts = list[LabelcastError]()
        try:
            return self._proven(seconds, self._retries(seconds, again), doubts)
        except (*PASSING, DeadlineExceededError) as error:
            # Whatever spoke against the labels must be known, though they came no more after that.
            raise doubts[-1] if doubts else error from None

    def _proven(
        self, seconds: float | None, retries: Retries, doubts: list[LabelcastError]
    ) -> DeliveredLabels:
        ends = None if seconds is None else time.monotonic() + seconds
        # Perhaps it failed long ago, while nobody waited, and the service is back.
        old = self._call.done()
        while True:
            try:
                return self._read(self._reply(None if ends is None else ends - time.monotonic()))
            except CallTimeoutError:
                self._call.cancel()
                raise DeadlineExceededError(
                    f"no labels from {self._place} within {seconds:g} s"
                ) from None
            except RpcError as error:
                failure = self._translated(error, self._place)
                at_once = old and retries.at_once(failure, self._place)
                pause = 0.0 if at_once else retries.pause_after(failure, self._place)
            except UNPROVEN as error:
                doubts.append(retries.named(error, self._place))
                pause = retries.pause_after(error, self._place, unproven=True)
            old = False
            time.sleep(pause)
            self._place, self._call = self._start()

    def cancel(self) -> None:
        """See `PendingLabels`."""
        self._cancelled = True
        self._call.cancel()

    def _reply(self, seconds: float | None) -> bytes:
        if not self._cancelled:
            try:
                reply: bytes = self._call.result(None if seconds is None else max(0.0, seconds))
            except CallCancelledError:
                # By us, or by a peer that goes away.
                if not self._cancelled:
                    raise self._call from None
            else:
                return reply
        raise InvalidRequestError("this request was cancelled; ask for the views again")
