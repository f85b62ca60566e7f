"""Tables of imagenet.json."""

import statistics
from typing import Any

from benchmarks.imagenet.parts import Part
from benchmarks.imagenet.points import HARD
from benchmarks.imagenet.settings import FIRST_STUDENT, SECOND_STUDENT

Result = dict[str, Any]

_VIEWS = {
    Part.TRAIN: "SRe2L",
    "rded": "RDED",
    Part.HELD_OUT: "other things, not mixed",
    Part.KNOWN_THINGS: "known things in other places, not mixed",
}


def students_table(result: Result) -> str:
    """What students of each form of labels keep, for how many bytes, on things they never saw."""
    return _students_table(result, Part.HELD_OUT)


def known_things_table(result: Result) -> str:
    """The same on things they saw, in places that they did not."""
    return _students_table(result, Part.KNOWN_THINGS)


def _students_table(result: Result, part: Part) -> str:
    lines = [
        (
            "| labels | bytes a view | their KL | KL of the student | KL reduction kept"
            " | over smoothed hard labels | over the mean label | by the second student"
            " | likeliest class as the teacher | among five | students |"
        ),
        f"|---|{'---|' * 10}",
    ]
    for point in _by_size(result):
        figures = point["by_architecture"]
        if FIRST_STUDENT not in figures:
            continue
        main, second = figures[FIRST_STUDENT][part], figures.get(SECOND_STUDENT, {}).get(part)
        cells = [
            point["title"],
            _bytes(point["bytes_per_label"]),
            _taught(point),
            f"{main['kl']:.3f}",
            _share(main["share_kept"], main["share_kept_95"]),
            _share(main["share_kept_of_smoothed"], main["share_kept_of_smoothed_95"]),
            _share(main["share_kept_of_mean"], main["share_kept_of_mean_95"]),
            "–" if second is None else _share(second["share_kept"], second["share_kept_95"]),
            f"{main['top1']:.1%}",
            f"{main['top5']:.1%}",
            " + ".join(str(len(students)) for students in point["students"].values() if students),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def fidelity_table(result: Result) -> str:
    """How far labels of every size are from the teacher's, on views of both recipes."""
    lines = [
        (
            "| labels | views | bytes a label | KL, unseen views | KL, fitted views"
            " | likeliest class, unseen views | codec bytes | fit s |"
        ),
        f"|---|{'---|' * 7}",
    ]
    for point in _by_size(result):
        # The yardsticks, and the same labels on fewer views.
        if not point["decoded"] or point["views_with_labels"] < 1:
            continue
        agreement = point["unseen"]["top1_agreement"]
        cells = [
            point["title"],
            {"sre2l": "SRe2L", "rded": "RDED"}[point["recipe"]],
            _bytes(point["bytes_per_label"]),
            _divergence(point["unseen"]),
            _divergence(point["fitted"]),
            f"{agreement:.1%}",
            f"{point['codec_bytes']:,}" if point["codec_bytes"] else "–",
            f"{point['fit_seconds']:,.0f}" if point["codec_bytes"] else "–",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def views_table(result: Result) -> str:
    """How spread the teacher's labels are, and how often they agree with hard ones."""
    lines = [
        (
            "| views | labels | entropy, nats | the hard label is likeliest"
            " | its mean probability | labels/s (processes) |"
        ),
        f"|---|{'---|' * 5}",
    ]
    for name, title in _VIEWS.items():
        facts = result["prepared"].get(f"labels-{name}")
        if facts is None:
            continue
        speed = facts["labels_per_second"]
        cells = [
            title,
            f"{facts['labels']:,}",
            f"{facts['entropy_nats']:.2f}",
            f"{facts['hard_class_share']:.1%}",
            f"{facts['hard_class_mass']:.1%}",
            "–" if speed is None else f"{speed:.0f} ({facts['processes']})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _by_size(result: Result) -> list[Result]:
    def place(point: Result) -> tuple[bool, float]:
        return point["recipe"] == "rded", point["bytes_per_label"]

    return sorted(result["points"], key=place)


def _divergence(fidelity: Result) -> str:
    if fidelity["kl_nats"] is not None:
        return f"{fidelity['kl_nats']:.3f}"
    # Agreement without a KL: a class of some probability was given none.
    return "–" if fidelity["top1_agreement"] is None else "∞"


def _taught(point: Result) -> str:
    """KL on unseen views of the labels that the first students were taught, if they were soft."""
    if point["codec"].startswith(HARD):
        return "–"
    found = [student["kl_taught"] for student in point["students"][FIRST_STUDENT]]
    return "∞" if None in found else f"{statistics.fmean(found):.3f}"


def _bytes(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.1f}"


def _share(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "–"
    if interval is None:
        return f"{value:.1%}"
    return f"{value:.1%} ({interval[0]:.1%} to {interval[1]:.1%})"
