"""The table of what was compared."""

from typing import Any


def measures_table(result: dict[str, Any]) -> str:
    """What is ours, what is the peer's, and whether it suffices."""
    lines = ["| measure | ours | peer | ratio | to reach |", "|---|---|---|---|---|"]
    for row in result["measures"]:
        cells = [row["name"], *_figures(row), _bound(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figures(row: dict[str, Any]) -> tuple[str, str, str]:
    if row["ours"] is None:
        return f"unrun: {row['unrun']}", "–", "–"
    ours = f"{number(row['ours'])} {row['unit']}"
    if row["peer"] is None:
        spread = "" if "spread" not in row else " ({:.0f} to {:.0f})".format(*row["spread"])
        bare = row.get("of_bare_grpc")
        return ours + spread, "–" if bare is None else f"{number(bare)} of bare gRPC", "–"
    ratio = f"{row['ratio']:.2f}"
    if "spread" in row:
        least, greatest = row["spread"]
        ratio += f" ({least:.2f} to {greatest:.2f})"
    return ours, number(row["peer"]), ratio


def _bound(row: dict[str, Any]) -> str:
    if row["reach"] is None:
        return "–"
    relation = "≤" if row["lower_is_better"] else "≥"
    missed = "" if row.get("reached", True) else ", **missed**"
    return f"{relation} {row['reach']:g}{missed}"


def number(value: float) -> str:
    """A figure as short as it is telling."""
    if value >= 1e6:
        return f"{value / 1e6:,.2f} M"
    if 0 < value < 1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
