"""Adds up what students report, and how soon rows came again after faults."""

import statistics
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.chaos.faults import Fault

# A service that loses a process closes its connections within this time.
_LEAVING_SECONDS = 2.0
_KEPT = 40
_COUNTED = ("rows", "wrong", "lost", "duplicated")
_ENDS_PROCESS = {"worker", "supervisor"}


@dataclass
class Tally:
    """Counts of one run.

    Attributes:
        counts: rows, wrong, lost and duplicated ones.
        streams: that have ended, however.
        complete: streams that delivered everything.
        calls: unary ones.
        wrong_streams: streams and calls with rows that are wrong, lost or duplicated.
        silently_wrong: those of them that ended without an error.
        outcomes: of streams and calls.
        whose: examples of wrong rows.
        untyped: exceptions that are none of labelcast's.
        hung: streams and calls without an end.
        faults: that have happened.
        pushes: attempts to publish, and how many succeeded.
    """

    counts: Counter[str] = field(default_factory=Counter)
    streams: int = 0
    complete: int = 0
    calls: int = 0
    wrong_streams: int = 0
    silently_wrong: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    whose: list[str] = field(default_factory=list)
    untyped: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    _spans: list[dict[str, Any]] = field(default_factory=list)

    def take(self, report: dict[str, Any]) -> None:
        """One report of a student."""
        if report["event"] == "hung":
            self.hung.append(f"student {report['slot']}: {report['doing']}")
            return
        outcome = report["outcome"]
        self.outcomes[outcome.partition(":")[0]] += 1
        if outcome.startswith("untyped"):
            self.untyped.append(outcome)
        for name in _COUNTED:
            self.counts[name] += report.get(name, 0)
        self.whose += report.get("whose", [])[: max(0, _KEPT - len(self.whose))]
        if any(report.get(name, 0) for name in _COUNTED[1:]):
            self.wrong_streams += 1
            self.silently_wrong += outcome in ("complete", "left")
        if report["event"] == "call":
            self.calls += 1
            return
        self.streams += 1
        self.complete += outcome == "complete"
        self.kinds[report["kind"]] += 1
        if report["deliveries"]:
            self._spans.append(report)

    @property
    def typed_errors(self) -> dict[str, int]:
        """By class, most frequent first."""
        return {k: n for k, n in self.outcomes.most_common() if k.endswith("Error")}

    @property
    def failed(self) -> bool:
        """Whether anything happened that must not."""
        counted = any(self.counts[name] for name in _COUNTED[1:])
        return counted or bool(self.hung) or bool(self.untyped)

    def recovery(self, far_left_at: list[list[float]]) -> dict[str, Any]:
        """Seconds from the end of a fault to the next row of each stream that was hit.

        Args:
            far_left_at: of each lane, when the service ended connections.
        """
        found = []
        for fault in self.faults:
            lanes = _lanes_hit(fault, far_left_at)
            for stream in self._spans:
                hit = fault.place == "decoder" and stream["decoded"]
                if not (hit or stream["slot"] in lanes):
                    continue
                if not stream["began"] <= fault.at <= stream["ended"]:
                    continue
                times = stream["deliveries"]
                following = bisect_right(times, fault.until)
                if following < len(times):
                    found.append(times[following] - fault.until)
        if not found:
            return {"median": None, "worst": None, "streams_hit": 0}
        return {
            "median": round(statistics.median(found), 3),
            "worst": round(max(found), 3),
            "streams_hit": len(found),
        }

    def by_kind(self) -> dict[str, int]:
        """Faults of each kind."""
        return dict(Counter(fault.kind for fault in self.faults).most_common())

    def by_place(self) -> dict[str, dict[str, int]]:
        """Faults of each place and kind."""
        places: dict[str, Counter[str]] = {}
        for fault in self.faults:
            places.setdefault(fault.place, Counter())[fault.kind] += 1
        return {place: dict(kinds.most_common()) for place, kinds in places.items()}


def _lanes_hit(fault: Fault, far_left_at: list[list[float]]) -> set[int]:
    if fault.lane is not None:
        return {fault.lane}
    if fault.place not in _ENDS_PROCESS:
        return set()
    return {
        lane
        for lane, times in enumerate(far_left_at)
        if any(fault.at <= at <= fault.until + _LEAVING_SECONDS for at in times)
    }
