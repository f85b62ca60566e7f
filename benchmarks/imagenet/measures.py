"""What the ImageNet benchmark is to reach."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from benchmarks.comparison import Measure
from benchmarks.imagenet.parts import TESTED, Part
from benchmarks.imagenet.points import DENSE, HARD, SOFTER, softened
from benchmarks.imagenet.settings import FIRST_STUDENT
from benchmarks.imagenet.shares import paired_sums, share_ahead, sums_by_seed

Record = dict[str, Any]
# Shares of the KL reduction that are to be kept, by bytes.
REACH = {8: 98.0, 4: 96.0, 2: 92.0}
_KL_AT_8 = 200.0
_SHOWING = {Part.HELD_OUT: "", Part.KNOWN_THINGS: ", of known things"}


def measures_of(result: Record) -> list[Record]:
    """A row for each thing to be reached.

    Args:
        result: points with their shares.
    """
    by_name = {point["codec"]: point for point in result["points"]}
    rows = []
    for size, reach in REACH.items():
        measure = Measure(name=f"KL reduction kept at {size} B", unit="%", reach=reach)
        share = by_name.get(f"vqae-{size}", {}).get("share_kept")
        rows.append(_row(measure, None if share is None else 100 * share))
    compared = {f"{size} B": f"vqae-{size}" for size in REACH}
    compared[f"8 B at T = {SOFTER:g}"] = softened("vqae-8")
    rows += [
        _ahead(name, codec, part, by_name, result["things"][part])
        for part in TESTED
        for name, codec in compared.items()
    ]
    kl = by_name.get("vqae-8", {}).get("kl_unseen")
    least = Measure(
        name="KL of unseen views at 8 B",
        unit="thousandths of a nat",
        reach=_KL_AT_8,
        lower_is_better=True,
    )
    rows.append(_row(least, None if kl is None else 1000 * kl))
    labels = result["protocol"]["labels"]
    crops = result["protocol"]["tested"][Part.HELD_OUT]["crops"]
    for name, unit, count, reach in (
        ("what students learn from", "labels", labels, 60_000),
        ("what they are compared on", "held-out crops", crops, 10_000),
    ):
        rows.append(Measure(name=name, unit=unit, reach=reach).alone(count))
    return rows


def _row(measure: Measure, figure: float | None) -> Record:
    return measure.unrun("not measured yet") if figure is None else measure.alone(figure)


def _ahead(
    name: str, codec: str, part: Part, by_name: dict[str, Record], things: Sequence[int]
) -> Record:
    """How far ours is ahead of the best rival of its temperature and as many bytes or fewer."""
    title = f"{name}, ahead of the best rival of as many bytes or fewer{_SHOWING[part]}"
    measure = Measure(name=title, unit="% of the KL reduction", reach=0.0)
    ours = by_name.get(codec)
    if ours is None or _share(ours, part) is None:
        return measure.unrun("not measured yet")
    rivals = {
        rival: share
        for rival, point in by_name.items()
        if not point["ours"]
        and point["temperature"] == ours["temperature"]
        and (share := _share(point, part)) is not None
        and 0 < point["bytes_per_label"] <= ours["bytes_per_label"]
    }
    if not rivals:
        return measure.unrun("not measured yet")
    best = by_name[max(rivals, key=rivals.__getitem__)]
    compared = (ours, best, by_name[HARD], by_name[DENSE])
    sums = paired_sums(
        *(sums_by_seed(point["students"][FIRST_STUDENT], part, things) for point in compared)
    )
    ahead, interval = (None, None) if sums is None else share_ahead(*sums)
    if ahead is None:
        return measure.unrun("no seed in common")
    ends = None if interval is None else [100 * end for end in interval]
    sure = "one seed" if ends is None else f"95 %: {ends[0]:.1f} to {ends[1]:.1f}"
    named = replace(measure, name=f"{title} ({best['title']}; {sure})")
    return named.alone(100 * ahead, interval_95=ends, rival=best["codec"])


def _share(point: Record, part: Part) -> float | None:
    figures = point["by_architecture"].get(FIRST_STUDENT)
    share: float | None = None if figures is None else figures[part]["share_kept"]
    return share
