"""Draws the curve of a sweep. Needs matplotlib, which no other module of the producers needs."""

from pathlib import Path

from labelcast_producers.fitting.sweep import Sweep

# Labels that are all alike are kept without loss, which a logarithmic axis cannot show.
_LEAST_KL_NATS = 1e-6


def draw(curve: Sweep, path: Path) -> None:
    """Write the curve as PNG: KL against payload, both logarithmic, and top-1 agreement below.

    Args:
        curve: curve with at least one point.
        path: path of the PNG, which is replaced.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    # Without pyplot there is no global state, no window system and nothing to close.
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, NullLocator, ScalarFormatter

    payloads = [point.payload for point in curve.points]
    kept = [point.quality for point in curve.points]
    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    above.plot(payloads, [max(each.kl_nats, _LEAST_KL_NATS) for each in kept], "o-")
    for payload, each in zip(payloads, kept, strict=True):
        above.annotate(
            f"{each.kl_nats:.3g}",
            (payload, max(each.kl_nats, _LEAST_KL_NATS)),
            xytext=(6, 6),
            textcoords="offset points",
        )
    above.set_xscale("log", base=2)
    above.set_yscale("log")
    above.margins(x=0.1, y=0.12)
    above.set_ylabel("KL(teacher ‖ decoded), nats")
    above.set_title(
        f"{curve.num_rows:,} labels of {curve.num_classes:,} classes, measured on"
        f" {curve.measured_on}"
    )
    below.plot(payloads, [100 * each.top1_agreement for each in kept], "o-", label="top-1")
    below.plot(payloads, [100 * each.top5_agreement for each in kept], "s:", label="top-5")
    below.set_ylabel("agreement, %")
    below.set_xlabel(f"payload, bytes a label (fp16 labels: {curve.dense_fp16:,})")
    below.set_xticks(payloads)
    below.xaxis.set_major_formatter(ScalarFormatter())
    below.xaxis.set_minor_locator(NullLocator())
    below.xaxis.set_minor_formatter(NullFormatter())
    below.legend(loc="lower right")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
