"""Writes the tables of README and docs from the results and the code.

    python -m benchmarks.report           rewrite the pages
    python -m benchmarks.report --check   fail if one would change

A table stands between `<!-- table:NAME -->` and `<!-- end -->`; nothing else is touched.
"""

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.chaos.table import chaos_table, faults_table
from benchmarks.codec.arithmetic import points_of
from benchmarks.control_views.table import clean_table
from benchmarks.control_views.table import faults_table as control_faults_table
from benchmarks.imagenet.budget_table import budget_table
from benchmarks.imagenet.table import fidelity_table as imagenet_fidelity_table
from benchmarks.imagenet.table import known_things_table, views_table
from benchmarks.imagenet.table import students_table as imagenet_table
from benchmarks.language.table import corpus_table, fidelity_table, students_table
from benchmarks.measures_table import measures_table
from benchmarks.reference import REFERENCE
from benchmarks.serve.table import curve_table
from benchmarks.systems.table import import_sizes_table, import_table, systems_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").rglob("*.md")))
RESULTS = Path(__file__).parent / "results"
MAIN_TASK = "glyphs-1000"
_COUNTS = ("used", "resident")

Result = dict[str, Any]
_SLOT = re.compile(r"(<!-- table:([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def demo_table(result: Result) -> str:
    """Runs of the demo."""
    lines = [
        (
            "| labels | top-1 | retention | wire B/label | payload B/label | total B/label"
            " | Redis B/label | waiting for labels |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for run in result["runs"]:
        cells = [
            run["name"],
            f"{run['top1']:.1%}",
            f"{run['retention']:.1%}",
            *(
                _bytes(run[f"{name}_bytes_per_label"])
                for name in ("wire", "payload", "total", "redis")
            ),
            f"{run['stall_fraction']:.1%}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def store_table(result: Result) -> str:
    """What labels take in the memory of the store."""
    lines = [
        (
            "| bytes a label | labels a chunk | written, by the server's count | by the kernel's"
            " | after a restart | by the kernel's |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        taken = (row[when][whose] for when in ("written", "loaded") for whose in _COUNTS)
        cells = [f"{row['bytes_per_row']:,}", f"{row['rows_per_chunk']:,}"]
        cells += [f"{ratio:.3f}" for ratio in taken]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def code_loss_table(result: Result) -> str:
    """A loss that decodes its labels itself."""
    lines = [
        (
            "| rows | classes | time beside decoding first | memory besides the logits"
            " | decoding first |"
        ),
        "|---|---|---|---|---|",
    ]
    for size in result["sizes"]:
        ends = f"{size['time_ratio_from']:.2f} to {size['time_ratio_to']:.2f}"
        memory = (size[name] / size["logits_bytes"] for name in ("peak_bytes", "peer_peak_bytes"))
        cells = [f"{size['rows']:,}", f"{size['classes']:,}", f"{size['time_ratio']:.2f} ({ends})"]
        cells += [f"{ratio:.2f} × logits" for ratio in memory]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def codec_table(result: Result, task: str = MAIN_TASK) -> str:
    """Codecs of one task by payload."""
    lines = [
        (
            "| codec | payload B | total B at 10 M labels | KL, unseen views | top-1 agreement"
            " | student top-1 | retention | share of gain | fit s | decoded labels/s |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for point in sorted(points_of(result, task), key=lambda one: float(one["bytes_per_label"])):
        speed, unseen = point["decode_labels_per_second"], point["unseen"]
        cells = [
            point["codec"],
            _bytes(point["bytes_per_label"]),
            _bytes(point["total_bytes_per_label"]["10000000"]),
            _divergence(unseen),
            _share(unseen["top1_agreement"]),
            _share(point["top1"], point["top1_half_width_95"]),
            _share(point["retention"], point["retention_half_width_95"]),
            _share(point["share_of_gain"]),
            f"{point['fit_seconds']:,.0f}" if point["fit_seconds"] else "–",
            "–" if speed is None else f"{speed:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def headline_table(result: Result) -> str:
    """What a few bytes keep, and how many a rival needs for as much."""
    points = {point["codec"]: point for point in points_of(result, MAIN_TASK)}
    found = result["tasks"][MAIN_TASK]["catch_up"]
    lines = [
        (
            "| bytes a label | with codec and tables, over 10 M labels | accuracy kept"
            " | least bytes of a rival that keeps as much |"
        ),
        "|---|---|---|---|",
    ]
    for name in ("vqae-8", "vqae-4", "vqae-2", "vqae-1"):
        point = points[name]
        rivals = [
            one["bytes_per_label"]
            for one in found
            if one["target"] == name
            and one["family"] != "vqae-plain"
            and one["bytes_per_label"] is not None
        ]
        cells = [
            _bytes(point["bytes_per_label"]),
            _bytes(point["total_bytes_per_label"]["10000000"]),
            _share(point["retention"], point["retention_half_width_95"]),
            _bytes(min(rivals)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def fingerprints_table(result: Result) -> str:
    """What it costs to compare an image."""
    times = result["microseconds"]
    cells = [
        f"{result['file_bytes'] / 1000:.0f} kB",
        f"{times['plain'] / 1000:.1f} ms",
        f"{times['hashing'] / 1000:.2f} ms",
        f"{result['hashing_share']:.1%}",
    ]
    lines = ["| file | read and decoded | hashed | share |", "|---|---|---|---|"]
    return "\n".join([*lines, f"| {' | '.join(cells)} |"])


def ids_table(result: Result) -> str:
    """Sample IDs on the wire."""
    lines = ["| samples of | by position | by name |", "|---|---|---|"]
    for name, found in result["request_bytes_per_label"].items():
        lines.append(f"| {name} | {found['position']:.1f} | {found['name']:.1f} |")
    return "\n".join(lines)


def catch_up_table(result: Result, task: str = MAIN_TASK) -> str:
    """From how many bytes on each family of rivals keeps as much as ours."""
    found = result["tasks"].get(task, {}).get("catch_up", [])
    if not found:
        return "Not measured yet."
    targets = list(dict.fromkeys(one["target"] for one in found))
    cells = {(one["family"], one["target"]): one for one in found}
    lines = [
        f"| codec | {' | '.join(f'{target} at' for target in targets)} |",
        f"|---|{'---|' * len(targets)}",
    ]
    for family in dict.fromkeys(one["family"] for one in found):
        row = [_catch_up(cells[family, target]) for target in targets]
        lines.append(f"| {family} | {' | '.join(row)} |")
    return "\n".join(lines)


def ceiling_table(result: Result) -> str:
    """What a perfect codec could reach on each task."""
    lines = [
        "| task | dense top-1 | deviation between student seeds | of retention | hard labels |",
        "|---|---|---|---|---|",
    ]
    for task, found in result["tasks"].items():
        ceiling = found["ceiling"]
        if ceiling is not None:
            cells = [
                task,
                _share(ceiling["top1"], ceiling["top1_half_width_95"]),
                _share(ceiling["top1_seed_deviation"]),
                _share(ceiling["retention_seed_deviation"]),
                _share(found["hard_top1"]),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def entropy_table(result: Result) -> str:
    """What entropy coding would save."""
    lines = [
        "| payload B | entropy-coded B, by codebook | saving | saving by pairs of codes |",
        "|---|---|---|---|",
    ]
    for point in result["points"]:
        cells = [
            _bytes(point["payload_bytes_per_label"]),
            f"{point['coded_bytes_per_label']:.2f}",
            f"{point['saving']:.1%}",
            _share(point["saving_of_pairs"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def memory_table(result: Result) -> str:
    """Memory of a fit on a file larger than memory."""
    lines = ["| reader | label file | read | peak resident |", "|---|---|---|---|"]
    for name, reader in (("labelcast fit", "fit"), ("the same rows, mapped", "mapped")):
        cells = [
            name,
            f"{result['file_bytes'] / 2**30:.0f} GiB",
            f"{result['read_bytes'] / 2**30:.1f} GiB",
            f"{result[reader]['peak_rss_bytes'] / 2**30:.2f} GiB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def subject_table(result: Result) -> str:
    """What proving whose labels an answer carries costs."""
    lines = [
        (
            "| request | service | client | both ends | with zlib's own CRC-32 | with sha256"
            " | locating the rows | gathering them |"
        ),
        "|---|---|---|---|---|---|---|---|",
    ]
    for request in result["requests"]:
        costs = request["ns_a_row"]
        lookup, both = costs["service: view of each row"], request["both_ends_ns"]
        cells = [
            costs["service: with its checksum"],
            costs["client: checksum"],
            both,
            lookup + 2 * costs["peer: zlib's CRC-32"],
            lookup + 2 * costs["peer: sha256"],
            costs["the same request: locating"],
            costs["the same request: gathering"],
        ]
        lines.append(f"| {request['request']} | {' | '.join(f'{cell:.1f}' for cell in cells)} |")
    return "\n".join(lines)


# The file of a table is that of its first word: codec-catch-up is made from codec.json.
TABLES: dict[str, Callable[[Result], str]] = {
    "chaos": chaos_table,
    "chaos-faults": faults_table,
    "code_loss": code_loss_table,
    "codec": codec_table,
    "codec-headline": headline_table,
    "codec-catch-up": catch_up_table,
    "codec-ceiling": ceiling_table,
    "codec-300": partial(codec_table, task="glyphs-300"),
    "control_views": control_faults_table,
    "control_views-clean": clean_table,
    "demo": demo_table,
    "encode": measures_table,
    "entropy": entropy_table,
    "fingerprints": fingerprints_table,
    "fingerprints-ids": ids_table,
    "imagenet": imagenet_table,
    "imagenet-budget": budget_table,
    "imagenet-known-things": known_things_table,
    "imagenet-fidelity": imagenet_fidelity_table,
    "imagenet-measures": measures_table,
    "imagenet-views": views_table,
    "import": import_table,
    "import-sizes": import_sizes_table,
    "language": students_table,
    "language-corpus": corpus_table,
    "language-fidelity": fidelity_table,
    "language-measures": measures_table,
    "memory": memory_table,
    "serve": measures_table,
    **{
        f"serve-{curve}": partial(curve_table, curve=curve)
        for curve in ("message", "processes", "workers", "rows")
    },
    "store": store_table,
    "subject": subject_table,
    "systems": systems_table,
    "token_loss": measures_table,
    "trainers": measures_table,
}


def render(text: str) -> str:
    """A page with every table made anew; one whose JSON is not there stays as it is."""

    def table(slot: re.Match[str]) -> str:
        if slot[2] in REFERENCE:
            return f"{slot[1]}{REFERENCE[slot[2]]()}\n{slot[3]}"
        path = RESULTS / f"{slot[2].partition('-')[0]}.json"
        if not path.is_file():
            return slot[0]
        result = json.loads(path.read_text())
        return f"{slot[1]}{TABLES[slot[2]](result)}\n{slot[3]}"

    return _SLOT.sub(table, text)


def _bytes(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _share(value: float | None, half_width: float | None = None) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if half_width is None else f"{value:.1%} ± {100 * half_width:.1f}"


def _divergence(unseen: Result) -> str:
    if unseen["kl_nats"] is not None:
        return f"{unseen['kl_nats']:.3f}"
    # Agreement without a KL: a class of some probability was given none.
    return "–" if unseen["top1_agreement"] is None else "∞"


def _catch_up(found: Result) -> str:
    if found["bytes_per_label"] is None:
        return f"not by {_bytes(found['largest_tried'])} B"
    return f"{_bytes(found['bytes_per_label'])} B"


def main() -> int:
    """Rewrite or check."""
    checking, changed = "--check" in sys.argv[1:], []
    for path in PAGES:
        text = path.read_text()
        rendered = render(text)
        if rendered != text:
            changed.append(str(path.relative_to(ROOT)))
            if not checking:
                path.write_text(rendered)
    if checking and changed:
        sys.stderr.write(f"{', '.join(changed)}: out of date; run `make report`\n")
    return int(checking and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
