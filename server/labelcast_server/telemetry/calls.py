"""How calls end."""

from types import TracebackType

from labelcast.errors import LabelcastError
from labelcast_server.telemetry.metrics import CALLS


class EndOfCall:
    """Counts one call when its block ends: ok, by an error's reason, or cancelled by the client.

    Args:
        method: name of the method that answers.
    """

    def __init__(self, method: str) -> None:
        self._method = method.strip("_")
        self._outcome = "cancelled"

    def by(self, error: LabelcastError) -> LabelcastError:
        """Say which error ends the call; returns it."""
        self._outcome = error.reason
        return error

    def __enter__(self) -> "EndOfCall":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        CALLS.labels(self._method, "ok" if kind is None else self._outcome).inc()
