"""When a call is repeated. gRPC's own retries are off: its replay of a stream loses requests."""

import logging
import time
from collections.abc import Callable

from labelcast.errors import (
    ChecksumMismatchError,
    DigestMismatchError,
    LabelcastError,
    LostRequestError,
    OverloadedError,
    ProtocolError,
    ServiceUnavailableError,
    StoreUnavailableError,
    WrongSubjectError,
)
from labelcast.network.patience import Patience

logger = logging.getLogger("labelcast.remote")

UNPROVEN = (ChecksumMismatchError, DigestMismatchError, ProtocolError, WrongSubjectError)
"""Errors of a reader of replies: such a reply is not used, and is requested again."""

PASSING = (
    LostRequestError,
    OverloadedError,
    ServiceUnavailableError,
    StoreUnavailableError,
    WrongSubjectError,
)
"""Errors of a service after which a call is repeated."""


class Retries(Patience):
    """Decides whether and when a call to a service is repeated.

    Args:
        seconds: see `Patience`.
        answered: see `Patience`.
        failed: told of every failure.
    """

    def __init__(
        self, seconds: float, *, answered: bool, failed: Callable[[LabelcastError], None]
    ) -> None:
        super().__init__(seconds, answered=answered)
        self._failed = failed

    def next_pause(self, error: LabelcastError, *, unproven: bool = False) -> float:
        """Seconds to wait before the next try.

        Args:
            error: error of the last try.
            unproven: whether the reply failed a check here, instead of the service having refused.

        Raises:
            LabelcastError: `error`, if it is permanent or patience has ended.
        """
        self._failed(error)
        if not (unproven or isinstance(error, PASSING)):
            raise error from None
        if unproven or isinstance(error, LostRequestError | WrongSubjectError):
            logger.warning("asking again: %s", error)
        return super().next_pause(error)

    def at_once(self, error: LabelcastError) -> bool:
        """Whether a call that failed while nobody waited may be repeated without a pause."""
        passing = isinstance(error, PASSING)
        if passing:
            self._failed(error)
        return passing


class Attempts(Retries):
    """Attempts at one unary call, all within its deadline.

    Args:
        seconds: see `Patience`.
        answered: see `Patience`.
        failed: see `Retries`.
        deadline_seconds: seconds for all of them together.
    """

    def __init__(
        self,
        seconds: float,
        *,
        answered: bool,
        failed: Callable[[LabelcastError], None],
        deadline_seconds: float,
    ) -> None:
        super().__init__(seconds, answered=answered, failed=failed)
        self._deadline = time.monotonic() + deadline_seconds

    @property
    def seconds_left(self) -> float:
        """Time limit of the next attempt."""
        return max(0.001, self._deadline - time.monotonic())

    def next_pause(self, error: LabelcastError, *, unproven: bool = False) -> float:
        """See `Retries.next_pause`; no pause outlasts the deadline."""
        pause = super().next_pause(error, unproven=unproven)
        if time.monotonic() + pause >= self._deadline:
            raise error from None
        return pause
