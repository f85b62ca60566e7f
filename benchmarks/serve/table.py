"""Tables of the data plane: measures, and curves."""

from typing import Any


def serve_table(result: dict[str, Any]) -> str:
    """What is ours, what is the peer's, and whether it suffices."""
    lines = ["| measure | ours | peer | ratio | to reach |", "|---|---|---|---|---|"]
    for row in result["measures"]:
        cells = [row["name"], *_figures(row), _bound(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def curve_table(result: dict[str, Any], curve: str) -> str:
    """Points of a curve, a line each."""
    points = result["curves"].get(curve)
    if points is None:
        return "Not measured yet."
    names = list(points[0])
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    cells = [[_number(point[name]) for name in names] for point in points]
    return "\n".join([*lines, *(f"| {' | '.join(line)} |" for line in cells)])


def _figures(row: dict[str, Any]) -> tuple[str, str, str]:
    if row["ours"] is None:
        return f"unrun: {row['unrun']}", "–", "–"
    ours = f"{_number(row['ours'])} {row['unit']}"
    if row["peer"] is None:
        spread = "" if "spread" not in row else " ({:.0f} to {:.0f})".format(*row["spread"])
        bare = row.get("of_bare_grpc")
        return ours + spread, "–" if bare is None else f"{_number(bare)} of bare gRPC", "–"
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
    if value >= 1e6:
        return f"{value / 1e6:,.2f} M"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"
