"""Tables of the curves of the data plane."""

from typing import Any

from benchmarks.measures_table import number


def curve_table(result: dict[str, Any], curve: str) -> str:
    """Points of a curve, a line each."""
    points = result["curves"].get(curve)
    if points is None:
        return "Not measured yet."
    names = list(points[0])
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    cells = [[number(point[name]) for name in names] for point in points]
    return "\n".join([*lines, *(f"| {' | '.join(line)} |" for line in cells)])
