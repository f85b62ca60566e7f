"""How much of what dense labels gain over hard ones is kept, with intervals over things and seeds.

share kept = (KL of hard − KL of x) / (KL of hard − KL of dense), each the divergence of a student
from the teacher over all crops of a part. Crops of one photograph are alike, and so are photographs
of one thing, so a bootstrap draws things anew, the same ones for all three students. Students of
another seed are others, and three say little of how far: Student's t over them widens the interval,
in quadrature, where a bootstrap over three would be a fifth too narrow and know nothing of that.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec.arithmetic import half_width
from benchmarks.imagenet.parts import Part

DRAWS = 2000
_ENDS = (2.5, 97.5)

Sums = NDArray[np.float64]
# With its 95 % interval, which students of a single seed do not have.
Share = tuple[float, tuple[float, float] | None] | tuple[None, None]


def share_kept(sums: Sums, hard: Sums, dense: Sums) -> Share:
    """The share, and its 95 % interval.

    Args:
        sums: float64, shape (seeds, things): KL over the crops of each thing, of one student for
            each seed.
        hard: the same of students of hard labels, with the same seeds.
        dense: the same of students of dense labels.

    Returns:
        None twice where dense labels are no better than hard ones.
    """
    return _ratio(hard - sums, hard - dense)


def share_ahead(sums: Sums, rival: Sums, hard: Sums, dense: Sums) -> Share:
    """By how much one share is larger than a rival's, and the 95 % interval of that.

    Args:
        sums: as in `share_kept`.
        rival: the same of the rival's students.
        hard: as in `share_kept`.
        dense: as in `share_kept`.
    """
    return _ratio(rival - sums, hard - dense)


def _ratio(kept: Sums, gain: Sums) -> Share:
    if gain.sum() <= 0:
        return None, None
    ratio = float(kept.sum() / gain.sum())
    # What each seed alone moves the ratio by, to first order.
    over_seeds = half_width(((kept - ratio * gain).sum(axis=1) / gain.sum(axis=1).mean()).tolist())
    if over_seeds is None:
        return ratio, None
    things = gain.shape[1]
    random = np.random.default_rng(0)
    drawn = random.multinomial(things, np.full(things, 1 / things), size=DRAWS)
    keeping, gained = ((drawn * each.sum(axis=0)).sum(axis=1) for each in (kept, gain))
    # Where only things came up of which dense labels taught nothing there is no share.
    low, high = np.percentile(keeping[gained > 0] / gained[gained > 0], _ENDS).tolist()
    below, above = math.hypot(ratio - low, over_seeds), math.hypot(high - ratio, over_seeds)
    return ratio, (ratio - below, ratio + above)


def sums_by_seed(
    students: Sequence[dict[str, Any]], part: Part, things: Sequence[int]
) -> dict[int, Sums]:
    """KL over the crops of each thing of a part, by seed, from the results of students.

    Args:
        students: results of `train`.
        part: which crops.
        things: for each photograph, which thing it shows.
    """
    return {
        int(student["seed"]): sums_of_things(student[part]["kl_by_photograph"], things)
        for student in students
    }


def sums_of_things(by_photograph: Sequence[float], things: Sequence[int]) -> Sums:
    """Sums over photographs to sums over things: shape (things,)."""
    sums: Sums = np.bincount(things, weights=by_photograph).astype(np.float64)
    return sums


def paired_sums(*by_seed: dict[int, Sums]) -> list[Sums] | None:
    """Sums of several students for the seeds that all have; None where there is no such seed."""
    seeds = sorted(set.intersection(*(set(one) for one in by_seed)))
    if not seeds:
        return None
    return [np.stack([one[seed] for seed in seeds]) for one in by_seed]
