"""How much of what dense labels gain over hard ones is kept, with intervals over photographs.

share kept = (KL of hard − KL of x) / (KL of hard − KL of dense), each the divergence of a student
from the teacher over all crops of a part. Crops of one photograph are alike: what is drawn anew for
an interval is photographs, the same ones for all three students.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.imagenet.parts import Part

DRAWS = 2000
_ENDS = (2.5, 97.5)

Sums = NDArray[np.float64]


def share_kept(
    sums: Sums, hard: Sums, dense: Sums
) -> tuple[float, tuple[float, float]] | tuple[None, None]:
    """The share, and its 95 % interval.

    Args:
        sums: float64, shape (seeds, photographs): KL over the crops of each photograph, of one
            student for each seed.
        hard: the same of students of hard labels, with the same seeds.
        dense: the same of students of dense labels.

    Returns:
        None twice where dense labels are no better than hard ones.
    """
    return _ratio(hard - sums, hard - dense)


def share_ahead(
    sums: Sums, rival: Sums, hard: Sums, dense: Sums
) -> tuple[float, tuple[float, float]] | tuple[None, None]:
    """By how much one share is larger than a rival's, and the 95 % interval of that.

    Args:
        sums: as in `share_kept`.
        rival: the same of the rival's students.
        hard: as in `share_kept`.
        dense: as in `share_kept`.
    """
    return _ratio(rival - sums, hard - dense)


def _ratio(kept: Sums, gain: Sums) -> tuple[float, tuple[float, float]] | tuple[None, None]:
    kept, gain = kept.sum(axis=0), gain.sum(axis=0)
    if gain.sum() <= 0:
        return None, None
    photographs = len(gain)
    random = np.random.default_rng(0)
    drawn = random.multinomial(photographs, np.full(photographs, 1 / photographs), size=DRAWS)
    gained = drawn @ gain
    # Where only photographs came up of which dense labels taught nothing there is no share.
    ratios = (drawn @ kept)[gained > 0] / gained[gained > 0]
    low, high = np.percentile(ratios, _ENDS).tolist()
    return float(kept.sum() / gain.sum()), (low, high)


def sums_by_seed(students: Sequence[dict[str, Any]], part: Part) -> dict[int, list[float]]:
    """KL over the crops of each photograph of a part, by seed, from the results of students."""
    return {int(student["seed"]): student[part]["kl_by_photograph"] for student in students}


def paired_sums(*by_seed: dict[int, list[float]]) -> list[Sums] | None:
    """Sums of several students for the seeds that all have; None where there is no such seed."""
    seeds = sorted(set.intersection(*(set(one) for one in by_seed)))
    if not seeds:
        return None
    return [np.array([one[seed] for seed in seeds], dtype=np.float64) for one in by_seed]
