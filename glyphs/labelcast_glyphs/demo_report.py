"""What the demo measured: JSON, table, plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from labelcast.registry.client import LabelSetDetails

_TITLES = {
    "top1": "top-1",
    "retention": "retention",
    "wire_bytes_per_label": "wire",
    "payload_bytes_per_label": "payload",
    "total_bytes_per_label": "total",
    "redis_bytes_per_label": "Redis",
    "stall_fraction": "stall",
}
_SHARES = ("top1", "retention", "stall_fraction")


def build_report(
    results: list[dict[str, Any]], details: LabelSetDetails, *, teacher_top1: float
) -> dict[str, Any]:
    """Put the runs together.

    Args:
        results: one `StudentResult` a run, as JSON values.
        details: of the label set, from the admin API.
        teacher_top1: share in [0, 1].

    Returns:
        JSON values; shares are in [0, 1], bytes are a label's.
    """
    manifest = details.manifest
    labels = manifest.num_labels
    codes = manifest.segments[0].codes
    codes_in_redis = sum(details.store_bytes[shard.data.digest] for shard in codes.shards)
    redis = sum(details.store_bytes.values()) + len(manifest.to_bytes())
    payload = codes.stride
    total = manifest.total_bytes
    classes = manifest.contract.num_classes
    dense_top1 = next(run["top1"] for run in results if run["name"] == "dense-memory")
    runs = []
    for run in results:
        streams = run["name"].startswith("stream")
        dense = run["name"] == "dense-memory"
        runs.append(
            {
                "name": run["name"],
                "top1": run["top1"],
                "retention": run["top1"] / dense_top1,
                "wire_bytes_per_label": run["wire_bytes"] / run["labels"],
                "stream_bytes_per_label": run["stream_bytes"] / run["labels"],
                "payload_bytes_per_label": payload if streams else 2 * classes * dense,
                "total_bytes_per_label": total / labels if streams else 2 * classes * dense,
                "redis_bytes_per_label": redis / labels if streams else None,
                "stall_fraction": run["label_wait_seconds"] / run["train_seconds"],
                "train_seconds": run["train_seconds"],
            }
        )
    return {
        "teacher_top1": teacher_top1,
        "labels": labels,
        "num_classes": classes,
        "label_set": manifest.digest,
        "codec_report": details.report,
        "redis_payload_overhead": codes_in_redis / codes.payload_bytes - 1,
        "runs": runs,
    }


def print_table(report: dict[str, Any]) -> None:
    """Print the runs on standard output."""
    table = Table(
        title=f"Glyphs, {report['labels']:,} labels of {report['num_classes']:,} classes",
        caption="wire to Redis: bytes a label; stall: share of the time spent waiting for labels",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("labels", no_wrap=True)
    for title in _TITLES.values():
        table.add_column(title, justify="right")
    for run in report["runs"]:
        table.add_row(run["name"], *(format_figure(name, run[name]) for name in _TITLES))
    Console().print(table)


def format_figure(name: str, value: float | None) -> str:
    """One cell: shares in per cent, bytes with as many digits as matter."""
    if value is None or (value == 0 and name not in _SHARES):
        return "–"
    if name in _SHARES:
        return f"{value:.1%}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def write_plot(report: dict[str, Any], path: Path) -> None:
    """Accuracy against bytes on the wire, one point a run."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    # Labels that cross no wire stand at the left edge of the logarithmic axis.
    left_edge = 1.0
    for run in report["runs"]:
        bytes_per_label = max(run["wire_bytes_per_label"], left_edge)
        (point,) = axes.plot(bytes_per_label, 100 * run["top1"], "o", markersize=9)
        axes.annotate(
            f"{run['name']}\n{run['top1']:.1%}",
            (bytes_per_label, 100 * run["top1"]),
            xytext=(8, -4),
            textcoords="offset points",
            color=point.get_color(),
        )
    axes.axhline(100 * report["teacher_top1"], color="grey", linestyle=":", label="teacher")
    axes.set_xscale("log")
    axes.set_xlim(left_edge * 0.8, 2e4)
    axes.set_xlabel("bytes a label on the wire, both directions (left edge: none)")
    axes.set_ylabel("held-out top-1, %")
    axes.set_title("Students trained on the same views, with different labels")
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)
