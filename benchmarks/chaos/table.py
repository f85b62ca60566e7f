"""Tables of chaos.json."""

from collections import Counter
from typing import Any

Result = dict[str, Any]
_PLACES = {
    "grpc": "students ↔ gRPC port",
    "decoder": "decoders and their sockets",
    "redis": "Redis and its port",
    "admin": "admin process and its port",
    "worker": "I/O workers",
    "supervisor": "supervisor",
    "certificate": "certificate of the service",
    "disk": "disk",
}


def chaos_table(result: Result) -> str:
    """What became of the rows, under each variation."""
    rows = [_cells(run) for run in result["variations"].values()]
    lines = [f"| {' | '.join(rows[0])} |", f"|{'---|' * len(rows[0])}"]
    return "\n".join([*lines, *(f"| {' | '.join(row.values())} |" for row in rows)])


def _cells(run: Result) -> dict[str, str]:
    recovery = run["recovery_seconds"]
    return {
        "service": run["title"],
        "faults": f"{run['faults_total']:,}",
        "streams": f"{run['streams']:,}",
        "rows delivered": f"{run['rows']:,}",
        "wrong": f"{run['wrong']:,}",
        "lost": f"{run['lost']:,}",
        "duplicated": f"{run['duplicated']:,}",
        "ended by a typed error": f"{sum(run['typed_errors'].values()):,}",
        "next row after a fault, median": _seconds(recovery["median"]),
        "worst": _seconds(recovery["worst"]),
    }


def faults_table(result: Result) -> str:
    """Faults by place and kind, of all variations together."""
    places, kinds = dict[str, Counter[str]](), Counter[str]()
    for run in result["variations"].values():
        kinds.update(run["faults"])
        for place, found in run["faults_by_place"].items():
            places.setdefault(place, Counter()).update(found)
    titles = [kind.replace("_", " ") for kind in kinds]
    lines = [f"| where | {' | '.join(titles)} |", f"|---|{'---|' * len(kinds)}"]
    for place, title in _PLACES.items():
        if place in places:
            cells = [f"{places[place][kind]:,}" if kind in places[place] else "–" for kind in kinds]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
