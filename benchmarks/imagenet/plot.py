"""Share of the KL reduction against bytes."""

import re
from pathlib import Path
from typing import Any

from benchmarks.imagenet.parts import TESTED, Part
from benchmarks.imagenet.settings import FIRST_STUDENT, SECOND_STUDENT, TEACHER_NAME

_MARKERS = {FIRST_STUDENT: "o", SECOND_STUDENT: "^"}
_APART = 1.06
_MORE_COLOURS = (
    "black",
    "gold",
    "navy",
    "lime",
    "maroon",
    "teal",
    "violet",
    "tan",
    "indigo",
    "coral",
)
_TITLES = {
    Part.HELD_OUT: "other things in other places",
    Part.KNOWN_THINGS: "known things in other places",
}


def write_plot(result: dict[str, Any], path: Path) -> None:
    """Draw all points that have a share and take bytes: a panel for each part."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(TESTED), figsize=(14, 5.5), sharey=True, layout="constrained"
    )
    drawn = [
        point
        for point in result["points"]
        if point["bytes_per_label"] and point["share_kept"] is not None
    ]
    for axes, part in zip(panels, TESTED, strict=True):
        _draw(axes, part, drawn)
    panels[0].set_ylabel("KL reduction of dense over hard labels that is kept, %")
    panels[0].legend()
    figure.suptitle(f"Students of {TEACHER_NAME} (bars: 95 %; triangles: second student)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw(axes: Any, part: Part, drawn: list[dict[str, Any]]) -> None:
    families = list(dict.fromkeys(_family(point) for point in drawn))
    named: set[str] = set()
    for point in drawn:
        family = _family(point)
        for architecture, figures in point["by_architecture"].items():
            share = figures[part]["share_kept"]
            if share is None:
                continue
            # A single seed has no interval, and no bar.
            low, high = figures[part]["share_kept_95"] or (share, share)
            axes.errorbar(
                _place(point, drawn),
                100 * share,
                yerr=[[100 * max(share - low, 0)], [100 * max(high - share, 0)]],
                marker=_MARKERS[architecture],
                color=_colour(families.index(family)),
                capsize=3,
                label=None if family in named else family,
            )
            named.add(family)
    axes.axhline(100, color="grey", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("bytes a view")
    axes.grid(alpha=0.3)
    axes.set_title(_TITLES[part])


def _colour(number: int) -> str:
    """Of a family: matplotlib's ten, and then another ten."""
    return f"C{number}" if number < len(_MORE_COLOURS) else _MORE_COLOURS[number % 10]


def _family(point: dict[str, Any]) -> str:
    """The title without its bytes."""
    return re.sub(r", [\d.]+ B", "", point["title"])


def _place(point: dict[str, Any], drawn: list[dict[str, Any]]) -> float:
    """Bytes; those that take as many stand side by side."""
    size: float = point["bytes_per_label"]
    beside = [other["codec"] for other in drawn if other["bytes_per_label"] == size]
    from_the_middle = beside.index(point["codec"]) - (len(beside) - 1) / 2
    return size * float(_APART**from_the_middle)
