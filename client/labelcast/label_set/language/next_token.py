"""How likely labels call the text's own next token: what tells shifted labels from right ones.

A teacher gives the token that does follow a far larger probability than labels of other positions,
texts or vocabularies give it. A label set records the figure when it is encoded; a student measures
it again on the first labels that it receives.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError

LEAST_LOG_PROBABILITY = -20.0
"""What a label that does not name the token counts as, in nats: a token of one in 500 million."""
REPORT_KEY = "next_token"


@dataclass(frozen=True, slots=True)
class NextTokenFigure:
    """The figure over many positions.

    Attributes:
        mean: mean log-probability of the next token under its decoded label, in nats.
        deviation: standard deviation of a single position, in nats.
        positions: how many positions it is of.
    """

    mean: float
    deviation: float
    positions: int

    def as_json(self) -> dict[str, Any]:
        """The value under `REPORT_KEY` of a label set's report."""
        return {
            "mean_log_probability": self.mean,
            "deviation": self.deviation,
            "positions": self.positions,
        }

    @classmethod
    def from_report(cls, report: dict[str, Any]) -> Self | None:
        """The figure of a report; None if it has none.

        Raises:
            ManifestError: the report's figure is none.
        """
        value = report.get(REPORT_KEY)
        if value is None:
            return None
        try:
            read = cls(
                float(value["mean_log_probability"]),
                float(value["deviation"]),
                int(value["positions"]),
            )
        except (KeyError, TypeError, ValueError):
            raise ManifestError(f"the report's {REPORT_KEY} is no figure: {value!r:.80}") from None
        if not (math.isfinite(read.mean) and 0 <= read.deviation < math.inf and read.positions > 0):
            raise ManifestError(f"the report's {REPORT_KEY} is out of range: {value!r:.80}")
        return read


class NextTokenMeter:
    """Gathers the figure block by block.

    Args:
        state: what `state` gave, to go on from there; None to begin.
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        state = state or {}
        self.positions = int(state.get("positions", 0))
        """Positions so far."""
        self._sum = float(state.get("sum", 0.0))
        self._squares = float(state.get("squares", 0.0))

    def state(self) -> dict[str, Any]:
        """JSON value to go on from."""
        return {"positions": self.positions, "sum": self._sum, "squares": self._squares}

    def add(self, log_probabilities: NDArray[np.floating]) -> None:
        """Count positions.

        Args:
            log_probabilities: float, shape (n,): of each position's next token under its label;
                −inf where the label gives it nothing.
        """
        counted = np.maximum(log_probabilities.astype(np.float64), LEAST_LOG_PROBABILITY)
        self.positions += len(counted)
        self._sum += float(counted.sum())
        self._squares += float((counted**2).sum())

    def figure(self) -> NextTokenFigure | None:
        """The figure so far; None before the first position."""
        if not self.positions:
            return None
        mean = self._sum / self.positions
        variance = max(self._squares / self.positions - mean**2, 0.0)
        return NextTokenFigure(mean, variance**0.5, self.positions)
