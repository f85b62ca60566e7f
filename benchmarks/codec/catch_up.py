"""At what larger rate a rival keeps as much as ours."""

import statistics
from collections.abc import Sequence
from typing import Any

TARGETS = ("vqae-1", "vqae-2", "vqae-4", "vqae-8")
# Yardsticks are no rates of a codec.
_NO_RIVALS = ("dense", "hard-unmixed", "hard-mixed", "vqae")


def catch_up(points: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each of our sizes and each family, the least measured rate with at least its retention.

    Retentions are compared over the seeds that both have, since a seed moves them together.

    Args:
        points: of one task, with `retention_per_seed`.

    Returns:
        target, family, bytes_per_label (None if no measured rate reaches it) and the largest rate
        that was tried.
    """
    by_name = {point["codec"]: point for point in points}
    families = dict.fromkeys(
        point["family"] for point in points if point["family"] not in _NO_RIVALS
    )
    found = []
    for target in TARGETS:
        ours = by_name.get(target)
        if ours is None or not ours["retention_per_seed"]:
            continue
        for family in families:
            tried = [point for point in points if point["family"] == family]
            rates = [point["bytes_per_label"] for point in tried if _reaches(point, ours)]
            found.append(
                {
                    "target": target,
                    "family": family,
                    "bytes_per_label": min(rates, default=None),
                    "largest_tried": max(point["bytes_per_label"] for point in tried),
                }
            )
    return found


def _reaches(point: dict[str, Any], ours: dict[str, Any]) -> bool:
    seeds = point["retention_per_seed"].keys() & ours["retention_per_seed"].keys()
    if not seeds:
        return False
    own, target = (
        statistics.fmean(one["retention_per_seed"][seed] for seed in seeds) for one in (point, ours)
    )
    return own >= target
