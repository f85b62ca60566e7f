"""What labels of a distilled ImageNet-1K weigh at measured bytes, beside published sizes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.imagenet.parts import TESTED
from benchmarks.imagenet.settings import FIRST_STUDENT
from labelcast_producers.budget import IPCS, Samples, Setting, budget_of, ours, published
from labelcast_producers.budget.published import samples_of

Result = dict[str, Any]
SIZES = (10, 50, 100)
_SHOWN = {
    "sre2l": "SRe2L: dense, 300 views",
    "lpld-40": "LPLD 40×: dense, 7.5 views",
    "lpqld-200": "LPQLD 200×: top-10, 30 views",
}
# 14 labels an image at ten images per class, as published (arXiv 2512.15647).
_HALD_BYTES, _HALD_VIEWS = 285_000_000, 14
_MIB = 2**20


def budget_table(result: Result) -> str:
    """All labels of a set, in MiB, by images per class."""
    assert set(SIZES) <= set(IPCS)
    lines = [
        (
            f"| labels | {' | '.join(f'{size} images per class' for size in SIZES)}"
            " | kept here of other things | of known things |"
        ),
        f"|---|{'---|' * (len(SIZES) + 2)}",
    ]
    by_name = {point["codec"]: point for point in result["points"]}
    for name, title in _SHOWN.items():
        measured = by_name.get("dense") if name == "sre2l" else None
        sizes = [published(name, ipc).counted_gib * 1024 for ipc in SIZES]
        lines.append(_line(title, sizes, measured))
    lines.append(_line("HALD: dense, 14 views", [_HALD_BYTES / _MIB], None))
    for point in result["points"]:
        if not point["ours"] or point["recipe"] != "sre2l" or point["share_kept"] is None:
            continue
        lines.append(_line(f"{point['title']}, 300 views", _sizes(point, ours), point))
    few = by_name.get("vqae-8-few")
    if few is not None:
        sizes = _sizes(few, lambda size, samples: ours(size, samples, _HALD_VIEWS))
        lines.append(_line("ours, 8 B, 14 views", sizes, few))
    return "\n".join(lines)


def _sizes(point: Result, setting: Callable[[int, Samples], Setting]) -> list[float]:
    """MiB at the measured size of rows and codec."""
    found = []
    for ipc in SIZES:
        made = setting(point["payload_bytes_per_label"], samples_of(ipc))
        made = replace(made, codec_bytes=point["codec_bytes"])
        found.append(budget_of(made).label_bits / 8 / _MIB)
    return found


def _line(title: str, sizes: list[float], measured: Result | None) -> str:
    cells = [title, *(_mebibytes(size) for size in sizes), *["–"] * (len(SIZES) - len(sizes))]
    for part in TESTED:
        of_first = {} if measured is None else measured["by_architecture"].get(FIRST_STUDENT, {})
        share = of_first.get(part, {}).get("share_kept")
        cells.append("–" if share is None else f"{share:.1%}")
    return f"| {' | '.join(cells)} |"


def _mebibytes(value: float) -> str:
    return f"{value:,.0f} MiB" if value >= 100 else f"{value:.1f} MiB"
