"""What a student process tells the conductor: one JSON object a line on standard output."""

import json
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

_RESOLUTION_SECONDS = 0.01
_lock = threading.Lock()


def tell(event: str, **facts: Any) -> None:
    """Report, from any thread."""
    line = json.dumps({"event": event, **facts})
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


@dataclass
class Slot:
    """One student: at most one stream or call at a time, over a link of its own.

    Attributes:
        number: of its link.
        doing: for people.
        active_at: when something last happened, by the monotonic clock; None between calls.
        deliveries: when rows of the running stream came.
    """

    number: int
    doing: str = ""
    active_at: float | None = None
    deliveries: list[float] = field(default_factory=list)

    def begin(self, doing: str) -> None:
        """A call or stream begins."""
        self.doing, self.active_at, self.deliveries = doing, time.monotonic(), []

    def delivered(self) -> None:
        """Rows have come."""
        now = self.active_at = time.monotonic()
        if not self.deliveries or now - self.deliveries[-1] >= _RESOLUTION_SECONDS:
            self.deliveries.append(now)

    def end(self) -> None:
        """Nothing runs."""
        self.active_at = None
