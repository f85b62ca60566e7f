"""Writes the README's tables from the results.

    python -m benchmarks.report           rewrite README.md
    python -m benchmarks.report --check   fail if it would change

A table stands between `<!-- table:NAME -->` and `<!-- end -->`; nothing else is touched.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = Path(__file__).parent / "results"

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


def serving_table(result: Result) -> str:
    """Ways for labels to reach a client."""
    lines = ["| path | labels/s | wire B/label | Redis B/label |", "|---|---|---|---|"]
    for name, path in result["paths"].items():
        speed = path["labels_per_second"]
        cells = [
            name,
            f"{speed / 1e6:.2f} M" if speed >= 1e5 else f"{speed:,.0f}",
            _bytes(path.get("wire_bytes_per_label")),
            _bytes(path.get("redis_bytes_per_label")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[Result], str]] = {"demo": demo_table, "serving": serving_table}


def render(text: str) -> str:
    """README text with every table made anew from its JSON."""

    def table(slot: re.Match[str]) -> str:
        result = json.loads((RESULTS / f"{slot[2]}.json").read_text())
        return f"{slot[1]}{TABLES[slot[2]](result)}\n{slot[3]}"

    return _SLOT.sub(table, text)


def _bytes(value: float | None) -> str:
    if not value:
        return "–"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def main() -> int:
    """Rewrite or check."""
    text = README.read_text()
    rendered = render(text)
    if "--check" in sys.argv[1:]:
        if rendered != text:
            sys.stderr.write("README.md does not match benchmarks/results; run `make report`\n")
        return int(rendered != text)
    README.write_text(rendered)
    return 0


if __name__ == "__main__":
    sys.exit(main())
