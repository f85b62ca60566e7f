"""Retention against bytes, payload alone and with everything that is stored once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.codec.arithmetic import points_of

_LEFT_EDGE = 0.5
_AT_SCALE = "10000000"


def write_plot(result: dict[str, Any], task: str, path: Path) -> None:
    """Draw one task: payload on the left, total bytes over 10 million labels on the right."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    points = [point for point in points_of(result, task) if point["retention"] is not None]
    figure, panels = plt.subplots(1, 2, figsize=(13, 5.5), layout="constrained", sharey=True)
    ceiling = result["tasks"].get(task, {}).get("ceiling") or {}
    for axes, title in zip(panels, ("payload", "total over 10 million labels"), strict=True):
        deviation = ceiling.get("retention_seed_deviation")
        if deviation:
            band = (100 * (1 - deviation), 100 * (1 + deviation))
            axes.axhspan(*band, color="grey", alpha=0.2, label="dense ± seed deviation")
        for family in dict.fromkeys(point["family"] for point in points):
            members = [point for point in points if point["family"] == family]
            _draw(axes, family, members, total=title != "payload")
        axes.set_xscale("log")
        axes.set_xlabel(f"{title}, bytes a label (left edge: none)")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("top-1 over that of the dense run, %")
    panels[1].legend(loc="lower right", fontsize=8, ncols=2)
    figure.suptitle(f"{task}: students trained on decoded labels (bars: 95 % intervals)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw(axes: Any, family: str, members: Sequence[dict[str, Any]], *, total: bool) -> None:
    def rate(point: dict[str, Any]) -> float:
        value = point["total_bytes_per_label"][_AT_SCALE] if total else point["bytes_per_label"]
        return max(float(value), _LEFT_EDGE)

    ordered = sorted(members, key=rate)
    ours = any(point["ours"] for point in members)
    axes.errorbar(
        [rate(point) for point in ordered],
        [100 * point["retention"] for point in ordered],
        yerr=[100 * (point["retention_half_width_95"] or 0) for point in ordered],
        marker="o" if ours else "s",
        markersize=6 if ours else 4,
        linewidth=2.2 if ours else 1,
        linestyle="-" if ours else "--",
        capsize=2,
        label=family,
    )
