"""`PendingLabels`: a batch of labels that was asked for, and need not have come yet."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from labelcast.opening.delivered import DeliveredLabels


class PendingLabels(ABC):
    """One batch that was asked for."""

    @abstractmethod
    def result(self, seconds: float | None = None, *, again: bool = True) -> DeliveredLabels:
        """Wait for the labels.

        Args:
            seconds: seconds to wait at most, counted from now; None for the client's patience.
            again: whether to ask again for as long as that, or the client's patience if it is
                shorter, if the service cannot be reached; else a request that failed before now is
                repeated once.

        Raises:
            DeadlineExceededError: they did not come in that time.
            InvalidRequestError: the request was cancelled.
            Otherwise as `LabelSet.stream`.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Want the labels no longer, and leave nothing of the request behind."""


class LocalLabels(PendingLabels):
    """Labels that are at hand, read when they are wanted.

    Args:
        read: reads them.
    """

    def __init__(self, read: Callable[[], DeliveredLabels]) -> None:
        self._read = read

    def result(self, seconds: float | None = None, *, again: bool = True) -> DeliveredLabels:
        """See `PendingLabels`."""
        return self._read()

    def cancel(self) -> None:
        """See `PendingLabels`."""
