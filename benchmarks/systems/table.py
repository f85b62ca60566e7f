"""Tables of systems.json and import.json."""

from typing import Any

Result = dict[str, Any]
_AT = "10000000"
_MIB = 2**20


def systems_table(result: Result) -> str:
    """Published systems: bytes as they store them and as we do, and what their students keep."""
    lines = [
        (
            "| system | labels | original | ours: codes | augmentation | codec | container | total"
            " | smaller by | at 10 M labels | top-1, own files | service, raw | service, codes"
            " | retention |"
        ),
        f"|---|{'---|' * 13}",
    ]
    for system in result["systems"]:
        original, codes, runs = system["original"], system["codes"], system["students"]
        parts = codes["parts"]
        cells = [
            system["title"],
            f"{system['labels']:,}",
            _size(original["total_bytes"]),
            *(_size(parts[name]) for name in ("payload", "augmentation", "codec")),
            _size(parts["container"] + parts["report"]),
            _size(codes["total_bytes"]),
            f"{system['factor']['here']:.0f}×",
            f"{system['factor'][_AT]:.0f}×",
            _share(runs["direct"]),
            "equal to the last bit" if system["raw_equals_direct"] else _share(runs["raw"]),
            _share(runs["codes"]),
            _share(system["retention"]["codes"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def import_table(result: Result) -> str:
    """Ways to read a directory of SRe2L's files."""
    lines = ["| reader | labels/s | of the bare loop | peak resident |", "|---|---|---|---|"]
    for reader in result["readers"].values():
        cells = [
            reader["title"],
            f"{reader['rows_per_second']:,.0f}",
            f"{reader['ratio']:.2f}",
            f"{reader['peak_rss_bytes'] / _MIB:,.0f} MiB",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def import_sizes_table(result: Result) -> str:
    """Bytes a label at rest: SRe2L's files, and label sets made from them."""
    lines = [
        "| at rest | label | augmentation | container | codec | total B/label |",
        "|---|---|---|---|---|---|",
    ]
    for name, size in result["at_rest"].items():
        parts = size["bytes_per_label"]
        cells = [
            name,
            *(f"{parts[part]:,.2f}" for part in ("payload", "augmentation", "container", "codec")),
            f"{parts['total']:,.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _size(count: float) -> str:
    if count >= 10 * _MIB:
        return f"{count / _MIB:,.0f} MiB"
    if count >= _MIB / 10:
        return f"{count / _MIB:,.2f} MiB"
    return f"{count / 1024:,.1f} KiB" if count else "0"


def _share(figures: Result) -> str:
    if figures["mean"] is None:
        return "–"
    text = f"{figures['mean']:.1%}"
    width = figures["half_width_95"]
    return text if width is None else f"{text} ± {100 * width:.1f}"
