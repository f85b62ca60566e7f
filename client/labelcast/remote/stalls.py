"""A stream whose service owes a reply and sends none.

A message that is lost on its way breaks nothing: both ends would wait for each other for ever.
"""

from typing import Protocol

CHECKS = 8
"""How often to look in the time that a reply may take."""


class WatchedStream(Protocol):
    """What a watch must know of a stream; a `StreamExchange` is one."""

    @property
    def answered_rows(self) -> int:
        """Rows that have been answered since the run began."""
        ...

    @property
    def owes_reply(self) -> bool:
        """Whether the service must say something."""
        ...


class StallWatch:
    """Tells a stall from a pause, by being asked now and then.

    Args:
        exchange: exchange of the stream.
        seconds: seconds that a reply may be overdue.
    """

    def __init__(self, exchange: WatchedStream, seconds: float) -> None:
        self._exchange = exchange
        self._seconds = seconds
        self._answered_rows = -1
        self._since = 0.0
        self.waiting = False
        """Whether the next reply is being waited for; a consumer that is slow stalls nothing."""
        self.stalled = False

    def look(self, now: float) -> bool:
        """Whether the stream stalls at `now` (monotonic seconds)."""
        answered = self._exchange.answered_rows
        owed = self.waiting and self._exchange.owes_reply
        if not owed or answered != self._answered_rows:
            self._answered_rows, self._since = answered, now
        self.stalled = now - self._since > self._seconds
        return self.stalled
