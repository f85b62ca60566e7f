"""Two ways to do a thing, run in turns."""

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

Run = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is compared.

    Attributes:
        name: of the row.
        unit: of both figures.
        reach: ratio that must be reached; a figure in `unit` where there is no peer; None where
            nothing was set.
        aim: ratio or figure to aim at, if it is another.
        lower_is_better: for the figures and the ratio.
    """

    name: str
    unit: str
    reach: float | None = None
    aim: float | None = None
    lower_is_better: bool = False

    def compare(self, ours: Run, peer: Run, repetitions: int) -> dict[str, Any]:
        """Run both in turns after a run of each that does not count.

        The ratio is the median of the ratios of turns, so that a machine that changes its speed
        between turns changes both.
        """
        ours(), peer()
        return self.of_turns([(ours(), peer()) for _ in range(repetitions)])

    def of_turns(self, turns: list[tuple[float, float]]) -> dict[str, Any]:
        """A row of what came of several turns, each ours and the peer's."""
        ratios = [own / other for own, other in turns]
        return self.figures(
            statistics.median(own for own, _ in turns),
            statistics.median(other for _, other in turns),
            statistics.median(ratios),
            spread=[min(ratios), max(ratios)],
        )

    def figures(self, ours: float, peer: float, ratio: float, **more: Any) -> dict[str, Any]:
        """A row of the result."""
        found = {"ours": ours, "peer": peer, "ratio": ratio, "reached": self._reached(ratio)}
        return asdict(self) | found | more

    def alone(self, ours: float, **more: Any) -> dict[str, Any]:
        """A row of what has no peer: the figure itself is to reach its bound."""
        found = {"ours": ours, "peer": None, "ratio": None, "reached": self._reached(ours)}
        return asdict(self) | found | more

    def unrun(self, why: str) -> dict[str, Any]:
        """A row that says why there are no figures."""
        return asdict(self) | {"ours": None, "peer": None, "ratio": None, "unrun": why}

    def _reached(self, figure: float) -> bool | None:
        if self.reach is None:
            return None
        return figure <= self.reach if self.lower_is_better else figure >= self.reach
