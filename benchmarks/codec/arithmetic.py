"""From accuracies to what is reported: intervals, retention, share of gain, bytes in total."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

SCALES = (3_000_000, 10_000_000, 100_000_000)
_UPPER = 0.975

Accuracies = Mapping[int, float]


def half_width(values: Sequence[float]) -> float | None:
    """Half of the 95 % interval of the mean by Student's t; None below two values."""
    from scipy.special import stdtrit

    if len(values) < 2:
        return None
    quantile = float(stdtrit(len(values) - 1, _UPPER))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def paired_ratios(accuracies: Accuracies, dense: Accuracies) -> list[float]:
    """Accuracy over the dense run's, for each seed that both have."""
    return [accuracies[seed] / dense[seed] for seed in sorted(accuracies.keys() & dense.keys())]


def share_of_gain(accuracies: Accuracies, dense: Accuracies, hard: float) -> float | None:
    """How much of what dense labels gain over hard ones is kept.

    Args:
        accuracies: by seed.
        dense: by seed; the seeds of both count.
        hard: mean accuracy of the better hard-label run.

    Returns:
        1 where nothing is lost, 0 where hard labels would do; None where dense labels gain nothing.
    """
    seeds = accuracies.keys() & dense.keys()
    if not seeds:
        return None
    reached = statistics.fmean(accuracies[seed] for seed in seeds)
    possible = statistics.fmean(dense[seed] for seed in seeds)
    return (reached - hard) / (possible - hard) if possible > hard else None


def total_bytes(
    *, payload: float, sample_bytes: float, views: int, codec_bytes: int, labels: int
) -> float:
    """Bytes a label with everything that is stored once, over so many labels.

    Args:
        payload: bytes of a label's row.
        sample_bytes: stored once for each sample.
        views: labels of each sample.
        codec_bytes: stored once.
        labels: that share the codec.
    """
    return payload + sample_bytes / views + codec_bytes / labels


def points_of(result: dict[str, Any], task: str) -> list[dict[str, Any]]:
    """Points of one task under the teacher that speaks for it: others are not comparable.

    Args:
        result: a whole codec.json.
        task: its name; an unknown one has no points.
    """
    teacher = result["tasks"].get(task, {}).get("teacher")
    return [
        point for point in result["points"] if (point["task"], point["teacher"]) == (task, teacher)
    ]
