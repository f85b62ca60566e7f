"""When a call is made again. gRPC's own retries are off: its replay of a stream loses requests."""

import logging
import time

from labelcast.errors import (
    ChecksumMismatchError,
    DigestMismatchError,
    LostRequestError,
    OverloadedError,
    ProtocolError,
    ServiceUnavailableError,
    StoreUnavailableError,
    WrongSubjectError,
)

logger = logging.getLogger("labelcast.remote")

UNPROVEN = (ChecksumMismatchError, DigestMismatchError, ProtocolError, WrongSubjectError)
"""What a reader of replies raises: nothing of such a reply is used, and it is asked for again."""

_PASSING = (
    LostRequestError,
    OverloadedError,
    ServiceUnavailableError,
    StoreUnavailableError,
    WrongSubjectError,
)
_BACKOFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)


class Retries:
    """When a call that failed is made again: after growing pauses, until patience ends.

    Args:
        patience_seconds: from the first failure on; progress starts it anew.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self.progress()

    def progress(self) -> None:
        """Something arrived: patience starts anew."""
        self._failures = 0
        self._since = 0.0

    def next_pause(self, error: Exception, *, unproven: bool = False) -> float:
        """Seconds to wait before the next try.

        Args:
            error: why the last one failed.
            unproven: the reply failed a check here, rather than the service having refused.

        Raises:
            Exception: `error`, if it will not pass or patience has ended.
        """
        now = time.monotonic()
        if not self._failures:
            self._since = now
        left = self._since + self._patience_seconds - now
        if left <= 0 or not (unproven or isinstance(error, _PASSING)):
            raise error from None
        if unproven or isinstance(error, LostRequestError | WrongSubjectError):
            logger.warning("asking again: %s", error)
        pause = _BACKOFF_SECONDS[min(self._failures, len(_BACKOFF_SECONDS) - 1)]
        self._failures += 1
        return min(pause, left)


class Attempts(Retries):
    """Attempts at one unary call, all within its deadline.

    Args:
        deadline_seconds: for all of them.
        patience_seconds: from the first failure on.
    """

    def __init__(self, *, deadline_seconds: float, patience_seconds: float) -> None:
        super().__init__(patience_seconds)
        self._deadline = time.monotonic() + deadline_seconds

    @property
    def seconds_left(self) -> float:
        """Time limit of the next attempt."""
        return max(0.001, self._deadline - time.monotonic())

    def next_pause(self, error: Exception, *, unproven: bool = False) -> float:
        """As `Retries.next_pause`; no pause outlasts the deadline."""
        pause = super().next_pause(error, unproven=unproven)
        if time.monotonic() + pause >= self._deadline:
            raise error from None
        return pause
