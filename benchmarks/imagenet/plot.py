"""Share of the KL reduction against bytes."""

import re
from pathlib import Path
from typing import Any

from benchmarks.imagenet.settings import FIRST_STUDENT, SECOND_STUDENT, TEACHER_NAME

_MARKERS = {FIRST_STUDENT: "o", SECOND_STUDENT: "^"}
_APART = 1.06


def write_plot(result: dict[str, Any], path: Path) -> None:
    """Draw all points that have a share and take bytes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    drawn = [
        point
        for point in result["points"]
        if point["bytes_per_label"] and point["share_kept"] is not None
    ]
    families = list(dict.fromkeys(_family(point) for point in drawn))
    named: set[str] = set()
    for point in drawn:
        family = _family(point)
        for architecture, figures in point["by_architecture"].items():
            share = figures["share_kept"]
            if share is None:
                continue
            low, high = figures["share_kept_95"]
            axes.errorbar(
                _place(point, drawn),
                100 * share,
                yerr=[[100 * max(share - low, 0)], [100 * max(high - share, 0)]],
                marker=_MARKERS[architecture],
                color=f"C{families.index(family)}",
                capsize=3,
                label=None if family in named else family,
            )
            named.add(family)
    axes.axhline(100, color="grey", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("bytes a view")
    axes.set_ylabel("KL reduction of dense over hard labels that is kept, %")
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title(f"Students of {TEACHER_NAME} (bars: 95 %; triangles: second student)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _family(point: dict[str, Any]) -> str:
    """The title without its bytes."""
    return re.sub(r", [\d.]+ B", "", point["title"])


def _place(point: dict[str, Any], drawn: list[dict[str, Any]]) -> float:
    """Bytes; those that take as many stand side by side."""
    size: float = point["bytes_per_label"]
    beside = [other["codec"] for other in drawn if other["bytes_per_label"] == size]
    from_the_middle = beside.index(point["codec"]) - (len(beside) - 1) / 2
    return size * float(_APART**from_the_middle)
