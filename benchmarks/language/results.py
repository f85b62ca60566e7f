"""language.json: what was measured, merged with what was committed, and what follows from it."""

import json
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.codec.queue import read_results
from benchmarks.comparison import Measure
from benchmarks.language.place import LABELS_UNIT, Place
from benchmarks.language.points import DENSE, HARD, POINTS, Point
from benchmarks.language.settings import TEACHER_NAME

Record = dict[str, Any]
Losses = Mapping[int, float]
# Standard errors that a difference must be large.
DECIDED = 2.0
_MAX_SEEDS = 16
_MIB = 2**20
_HIDDEN, _HIDDEN_KL = "hidden-int8", 2e-3


def collect(place: Place) -> Record:
    """What the work directory knows: protocol, corpus, and the points whose labels are there."""
    points = [_collected(point, place) for point in POINTS.values()]
    return {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("torch", "transformers", "numpy")},
        "protocol": place.scale.as_json()
        | {
            "teacher": TEACHER_NAME,
            "train_digest": place.train.digest,
            "held_out_digest": place.held_out.digest,
        },
        "corpus": place.facts("corpus"),
        "relabel": {"held_out": place.facts("held-out"), "train": place.facts("exact")},
        "points": [point for point in points if point is not None],
    }


def _collected(point: Point, place: Place) -> Record | None:
    results = read_results(place.units(point, _MAX_SEEDS))
    labels = results.pop(LABELS_UNIT, None)
    if labels is None:
        return None
    return {
        "name": point.name,
        "title": point.title,
        "labels": labels,
        "students": sorted(results.values(), key=lambda student: int(student["seed"])),
    }


def merged(path: Path, result: Record) -> Record:
    """With points that an earlier run of the same protocol measured."""
    if not path.is_file():
        return result
    before = json.loads(path.read_text())
    if before["protocol"] != result["protocol"]:
        return result
    found = {point["name"]: point for point in [*before["points"], *result["points"]]}
    return result | {"points": [found[name] for name in POINTS if name in found]}


def derive(result: Record) -> Record:
    """With means, shares of gain, and measures."""
    losses = {point["name"]: student_losses(point) for point in result["points"]}
    hard, dense = losses.get(HARD, {}), losses.get(DENSE, {})
    gain = paired(hard, dense)
    decided = gain is not None and gain["standard_errors"] >= DECIDED
    points = [
        point
        | _student_figures(point, losses[point["name"]])
        | {"share_of_gain": shares(losses[point["name"]], hard, dense) if decided else None}
        for point in result["points"]
    ]
    return result | {
        "points": points,
        "undecided": _undecided(losses),
        "measures": [*_measures(result, gain)],
    }


def student_losses(point: Record) -> dict[int, float]:
    """Held-out loss by seed: of hard labels the best of all epochs, else that of the last."""
    return {
        student["seed"]: min(student["held_out_nats"])
        if point["name"] == HARD
        else student["held_out_nats"][-1]
        for student in point["students"]
    }


def paired(first: Losses, second: Losses) -> dict[str, float] | None:
    """How much larger the first losses are than the second, seed by seed; None below two seeds."""
    differences = [first[seed] - second[seed] for seed in sorted(first.keys() & second.keys())]
    if len(differences) < 2:
        return None
    error = standard_error(differences)
    mean = statistics.fmean(differences)
    return {
        "mean": mean,
        "standard_error": error,
        "standard_errors": mean / error if error else math.copysign(1e9, mean),
    }


def standard_error(values: Sequence[float]) -> float:
    """Of the mean."""
    return statistics.stdev(values) / math.sqrt(len(values))


def shares(losses: Losses, hard: Losses, dense: Losses) -> dict[str, float | None] | None:
    """How much of what dense labels gain over hard ones is kept, in nats, seed by seed."""
    seeds = sorted(losses.keys() & hard.keys() & dense.keys())
    if not seeds:
        return None
    kept = [(hard[seed] - losses[seed]) / (hard[seed] - dense[seed]) for seed in seeds]
    return {
        "mean": statistics.fmean(kept),
        "standard_error": standard_error(kept) if len(kept) > 1 else None,
    }


def _student_figures(point: Record, losses: Losses) -> Record:
    students = point["students"]
    if not students:
        return {"held_out_nats": None, "perplexity": None, "deviation": None}
    mean = statistics.fmean(losses.values())
    return {
        "held_out_nats": mean,
        "perplexity": math.exp(mean),
        "deviation": statistics.stdev(losses.values()) if len(losses) > 1 else None,
        "student_peak_rss_bytes": max(student["peak_rss_bytes"] for student in students),
    }


def _undecided(losses: Mapping[str, Losses]) -> list[list[str]]:
    """Pairs of points whose students cannot be told apart: a third seed might."""
    names = [name for name in losses if len(losses[name]) > 1]
    pairs = [(a, b) for at, a in enumerate(names) for b in names[at + 1 :]]
    found = {pair: paired(losses[pair[0]], losses[pair[1]]) for pair in pairs}
    return [
        list(pair)
        for pair, gap in found.items()
        if gap is not None and abs(gap["standard_errors"]) < DECIDED
    ]


def _measures(result: Record, gain: dict[str, float] | None) -> list[Record]:
    relabel = result["relabel"]["held_out"]
    rows = [
        Measure(name="dense KD beats hard labels by", unit="standard errors", reach=DECIDED),
        Measure(name="mean KL of int8 states", unit="nats", reach=_HIDDEN_KL, lower_is_better=True),
        Measure(name="relabelling by one thread, its start included", unit="tokens/s"),
        Measure(name="relabelling, peak resident", unit="MiB", lower_is_better=True),
        Measure(name="the teacher's own held-out perplexity", unit="", lower_is_better=True),
    ]
    hidden = [point for point in result["points"] if point["name"] == _HIDDEN]
    figures = [
        None if gain is None else gain["standard_errors"],
        hidden[0]["labels"]["fidelity"]["kl"]["mean"] if hidden else None,
        relabel["tokens_per_second"],
        relabel["peak_rss_bytes"] / _MIB,
        math.exp(-relabel["next_token"]["mean_log_probability"]),
    ]
    return [
        measure.unrun("not measured yet") if figure is None else measure.alone(figure)
        for measure, figure in zip(rows, figures, strict=True)
    ]
