"""Tables of chaos.json."""

from typing import Any

Result = dict[str, Any]
_PLACES = {
    "grpc": "students ↔ gRPC port",
    "decoder": "decoder and its socket",
    "redis": "Redis and its port",
    "admin": "admin process and its port",
    "worker": "I/O workers",
    "supervisor": "supervisor",
    "disk": "disk",
}


def chaos_table(result: Result) -> str:
    """What became of the rows."""
    recovery = result["recovery_seconds"]
    cells = {
        "faults": f"{result['faults_total']:,}",
        "streams": f"{result['streams']:,}",
        "rows delivered": f"{result['rows']:,}",
        "wrong": f"{result['wrong']:,}",
        "lost": f"{result['lost']:,}",
        "duplicated": f"{result['duplicated']:,}",
        "ended by a typed error": f"{sum(result['typed_errors'].values()):,}",
        "next row after a fault, median": _seconds(recovery["median"]),
        "worst": _seconds(recovery["worst"]),
    }
    return f"| {' | '.join(cells)} |\n|{'---|' * len(cells)}\n| {' | '.join(cells.values())} |"


def faults_table(result: Result) -> str:
    """Faults by place and kind."""
    places, kinds = result["faults_by_place"], list(result["faults"])
    titles = [kind.replace("_", " ") for kind in kinds]
    lines = [f"| where | {' | '.join(titles)} |", f"|---|{'---|' * len(kinds)}"]
    for place, title in _PLACES.items():
        if place in places:
            cells = [f"{places[place][kind]:,}" if kind in places[place] else "–" for kind in kinds]
            lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} s"
