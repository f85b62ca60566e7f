"""Table of the measures of the data plane."""

from typing import Any


def serve_table(result: dict[str, Any]) -> str:
    """What is ours, what is the peer's, and whether it suffices."""
    lines = ["| measure | ours | peer | ratio | to reach |", "|---|---|---|---|---|"]
    for row in result["measures"]:
        cells = [row["name"], *_figures(row), _bound(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figures(row: dict[str, Any]) -> tuple[str, str, str]:
    if row["ours"] is None:
        return f"unrun: {row['unrun']}", "–", "–"
    ours = f"{_number(row['ours'])} {row['unit']}"
    if row["peer"] is None:
        return ours, "–", "–"
    ratio = f"{row['ratio']:.2f}"
    if "spread" in row:
        least, greatest = row["spread"]
        ratio += f" ({least:.2f} to {greatest:.2f})"
    return ours, _number(row["peer"]), ratio


def _bound(row: dict[str, Any]) -> str:
    relation = "≤" if row["lower_is_better"] else "≥"
    missed = "" if row.get("reached", True) else ", **missed**"
    return f"{relation} {row['reach']:g}{missed}"


def _number(value: float) -> str:
    return f"{value / 1e6:,.2f} M" if value >= 1e6 else f"{value:,.0f}"
