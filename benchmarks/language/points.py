"""Every point: what is kept of a prediction."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One form of labels.

    Attributes:
        name: on the command line.
        title: for people.
        codec: as `labelcast relabel-text --codec` takes it, or `DISTILLKIT`; None for the
            yardsticks.
    """

    name: str
    title: str
    codec: str | None


HARD, DENSE, DISTILLKIT = "hard", "dense", "distillkit"
_TABLE = (
    Point(HARD, "hard labels", None),
    Point(DENSE, "dense: fp32 states and head", None),
    Point("hidden-int8", "states, int8", "hidden:int8"),
    Point(DISTILLKIT, "DistillKit, as recommended", DISTILLKIT),
    # Of the rules for what is left out, students of 80 B learn best from this one.
    Point("topk-114", "top-k in 114 B, renormalised", "topk:114B:renormalise"),
    Point("topk-80", "top-k in 80 B, renormalised", "topk:80B:renormalise"),
    Point("topk-80-spread", "top-k in 80 B, spread", "topk:80B:spread"),
    Point("topk-80-lumped", "top-k in 80 B, lumped", "topk:80B:lumped"),
    Point("rskd-36", "sampled (RSKD), 12 × 3 B", "sampled:12"),
)
POINTS = {point.name: point for point in _TABLE}
