"""Share of the KL reduction against bytes."""

from pathlib import Path
from typing import Any

from benchmarks.imagenet.settings import FIRST_STUDENT, SECOND_STUDENT, TEACHER_NAME

_MARKERS = {FIRST_STUDENT: "o", SECOND_STUDENT: "^"}


def write_plot(result: dict[str, Any], path: Path) -> None:
    """Draw all points that have a share and take bytes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    for point in result["points"]:
        for architecture, figures in point["by_architecture"].items():
            share, size = figures["share_kept"], point["bytes_per_label"]
            if share is None or not size:
                continue
            low, high = figures["share_kept_95"]
            axes.errorbar(
                size,
                100 * share,
                yerr=[[100 * max(share - low, 0)], [100 * max(high - share, 0)]],
                marker=_MARKERS[architecture],
                color="tab:blue" if point["ours"] else "tab:gray",
                capsize=3,
            )
            if architecture == FIRST_STUDENT:
                place = (size, 100 * share)
                axes.annotate(point["title"], place, (6, -12), textcoords="offset points")
    axes.axhline(100, color="grey", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("bytes a view")
    axes.set_ylabel("KL reduction of dense over hard labels that is kept, %")
    axes.grid(alpha=0.3)
    axes.set_title(f"Students of {TEACHER_NAME} (bars: 95 %; triangles: second student)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
