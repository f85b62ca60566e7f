"""`Misses`: counts labels that did not come, and tells of it once when it begins and ends."""

import logging
from collections import Counter
from collections.abc import Callable

from labelcast.errors import (
    DeadlineExceededError,
    LabelcastError,
    OverloadedError,
    ServiceUnavailableError,
    StoreUnavailableError,
    ViewNotFoundError,
)
from labelcast.opening.loops.read_labels import OnMiss
from labelcast.views import Views

logger = logging.getLogger("labelcast.reader")

MISSES = (
    DeadlineExceededError,
    OverloadedError,
    ServiceUnavailableError,
    StoreUnavailableError,
)
"""Errors that say that labels did not come, and nothing against those that do."""

NOT_STORED = ViewNotFoundError.reason


class Misses:
    """What one reader missed in this process.

    Args:
        on_miss: what happens to them, to say so.
        count: told of every miss: the reason, and how many rows.
    """

    def __init__(self, on_miss: OnMiss, count: Callable[[str, int], None]) -> None:
        self._on_miss = on_miss
        self._count = count
        self._rows = Counter[str]()
        self._rows_before = 0
        self.missing = False
        """Whether labels did not come, and none have that were asked for since."""
        self.outages = 0
        """How often that has begun."""

    @property
    def rows(self) -> dict[str, int]:
        """Rows by the `reason` of the error that they were missed for."""
        return dict(self._rows)

    def missed(self, error: LabelcastError, rows: int) -> None:
        """Labels did not come."""
        if not self.missing:
            self.missing, self._rows_before = True, self._unanswered
            self.outages += 1
            logger.warning(
                "labels are missing from now on, with on_miss=%s: %s", self._on_miss, error
            )
        self._add(error.reason, rows)

    def came(self, outages: int) -> None:
        """Labels came; so many `outages` had begun when they were asked for.

        What was on its way before the last one says nothing of the service now.
        """
        if self.missing and outages == self.outages:
            self.missing = False
            logger.warning(
                "labels come again; %d rows went without", self._unanswered - self._rows_before
            )

    def not_stored(self, views: Views) -> None:
        """Views that the label set does not have."""
        if not self._rows[NOT_STORED]:
            logger.warning(
                "the label set lacks %s and perhaps more, with on_miss=%s", views, self._on_miss
            )
        self._add(NOT_STORED, len(views))

    @property
    def _unanswered(self) -> int:
        return self._rows.total() - self._rows[NOT_STORED]

    def _add(self, reason: str, rows: int) -> None:
        self._rows[reason] += rows
        self._count(reason, rows)
