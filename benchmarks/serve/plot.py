"""Draws what the speed of the data plane depends on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Panel:
    """How one curve is drawn.

    Attributes:
        curve: its name in the result.
        across: figure on the horizontal axis.
        up: figures drawn, in labels a second.
        decades: whether they differ by more than one, which a linear axis would hide.
    """

    curve: str
    across: str
    up: tuple[str, ...]
    decades: bool = True


_PROCESSES = ("codes, labels/s", "dense, labels/s")
PANELS = (
    Panel(
        "message",
        "labels a message",
        ("stream, labels/s", "a call each, labels/s", "raw TCP, labels/s"),
    ),
    Panel(
        "rows",
        "rows",
        (
            "listed, a seed after the other, labels/s",
            "listed, random views, labels/s",
            "by plan, labels/s",
        ),
        decades=False,
    ),
    Panel("processes", "client processes", _PROCESSES),
    Panel("workers", "workers", _PROCESSES),
)


def draw(curves: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Write the curves as PNG.

    Args:
        curves: of a result; one that was not measured leaves its place empty.
        path: of the PNG, which is replaced.
    """
    # Without pyplot there is no global state, no window system and nothing to close.
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, NullLocator

    figure = Figure(figsize=(11, 8), layout="constrained")
    for panel, axes in zip(PANELS, figure.subplots(2, 2).flat, strict=True):
        points = curves.get(panel.curve, [])
        across = [point[panel.across] for point in points]
        for name in panel.up:
            axes.plot(across, [point[name] for point in points], "o-", label=name)
        axes.set_xscale("log", base=2)
        axes.set_xticks(across, [_short(value) for value in across])
        axes.xaxis.set_minor_locator(NullLocator())
        if panel.decades:
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(lambda value, _: _short(value))
        axes.set_xlabel(panel.across)
        axes.set_ylabel("labels a second")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def _short(value: float) -> str:
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value:,g}"
