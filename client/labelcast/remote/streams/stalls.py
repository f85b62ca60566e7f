"""Detects a stream whose service should reply and does not.

A lost message breaks nothing visible: both ends would wait for each other forever.
"""

from typing import Protocol

CHECKS = 8
"""How often to check in the time that a reply may take."""


class WatchedStream(Protocol):
    """What a watch must know about a stream; `StreamExchange` and `BlobParts` are such."""

    @property
    def answered(self) -> int:
        """How much has been answered: rows, or bytes of a blob."""
        ...

    @property
    def owes_reply(self) -> bool:
        """Whether the service must send something."""
        ...


class StallWatch:
    """Tells a stall from a pause; it must be called at intervals.

    Args:
        exchange: exchange of the stream.
        seconds: seconds by which a reply may be late.
    """

    def __init__(self, exchange: WatchedStream, seconds: float) -> None:
        self._exchange = exchange
        self._seconds = seconds
        self._answered = -1
        self._since = 0.0
        self.waiting = False
        """Whether someone is waiting for the next reply; a slow consumer is not a stall."""
        self.stalled = False

    def look(self, now: float) -> bool:
        """Whether the stream stalls at `now` (monotonic seconds)."""
        answered = self._exchange.answered
        owed = self.waiting and self._exchange.owes_reply
        if not owed or answered != self._answered:
            self._answered, self._since = answered, now
        self.stalled = now - self._since > self._seconds
        return self.stalled
