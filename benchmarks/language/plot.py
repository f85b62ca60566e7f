"""Share of gain against bytes."""

from pathlib import Path
from typing import Any

from benchmarks.language.settings import TEACHER_NAME


def write_plot(result: dict[str, Any], path: Path) -> None:
    """Draw all points that have a share of gain and take bytes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for point in result["points"]:
        share, size = point["share_of_gain"], point["labels"]["payload_bytes_per_token"]
        if share is not None and size:
            error = share["standard_error"] or 0
            bars = {"marker": "o", "capsize": 3, "label": point["title"]}
            axes.errorbar(size, 100 * share["mean"], yerr=100 * error, **bars)
    axes.axhline(100, color="grey", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("bytes a token")
    axes.set_ylabel("share of dense KD's gain over hard labels, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    axes.set_title(f"Students of {TEACHER_NAME} (bars: standard errors)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
