"""Retrying after temporary failures: a service that restarts, a network that hiccups."""

import time
from collections.abc import Callable
from typing import TypeVar

from labelcast.errors import (
    DeadlineExceededError,
    LabelcastError,
    ServiceUnavailableError,
    StoreUnavailableError,
)

PATIENCE_SECONDS = 60.0

# A wrong address is reported soon, but not before a service that is just starting can answer; one
# that has answered once will be back.
_FIRST_CONTACT_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 3.0

PASSING: tuple[type[LabelcastError], ...] = (
    ServiceUnavailableError,
    DeadlineExceededError,
    StoreUnavailableError,
)

_T = TypeVar("_T")


class Patience:
    """Time that one service gets to recover; any progress starts it again.

    Args:
        seconds: time without progress after which a temporary failure is final; 0 tries once. Until
            the service has answered once, it is at most ten seconds.
        answered: whether the service has answered before.
    """

    def __init__(self, seconds: float, *, answered: bool = False) -> None:
        self._seconds = seconds
        self._answered = answered
        self._failing_since: float | None = None
        self._failures = 0

    def progress(self) -> None:
        """Something went well: later failures have the whole time again."""
        self._answered = True
        self._failing_since = None
        self._failures = 0

    def answered(self) -> None:
        """The service answers, even if with an error."""
        self._answered = True

    @property
    def has_answered(self) -> bool:
        """Whether the service has ever answered."""
        return self._answered

    def next_pause(self, error: LabelcastError) -> float:
        """Seconds to wait before another attempt.

        Raises:
            LabelcastError: `error`, once it is time to give up.
        """
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        self._failures += 1
        seconds = self._seconds
        if not self._answered:
            seconds = min(seconds, _FIRST_CONTACT_SECONDS)
        left = self._failing_since + seconds - now
        if left <= 0:
            raise error from None
        growing = _FIRST_PAUSE_SECONDS * 1.6 ** min(self._failures - 1, 10)
        return min(growing, _LONGEST_PAUSE_SECONDS, left)

    def wait_after(self, error: LabelcastError) -> None:
        """Sleep for `next_pause`, which may raise."""
        time.sleep(self.next_pause(error))

    def run(
        self,
        attempt: Callable[[], _T],
        *,
        also: tuple[type[LabelcastError], ...] = (),
    ) -> _T:
        """Repeat a call until it succeeds or patience ends.

        Args:
            attempt: call to repeat; doing it twice must be the same as doing it once.
            also: temporary errors besides those of network and store.

        Raises:
            LabelcastError: the error of the last attempt.
        """
        while True:
            try:
                result = attempt()
            except (*PASSING, *also) as error:
                self.wait_after(error)
            else:
                self.progress()
                return result
