"""codec.json: what was measured, merged with what was committed, and all that follows from it.

A point is measured against the yardsticks of the same task and the same teacher. Points that the
work directory lacks are taken over from the file as it was.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.codec.arithmetic import (
    SCALES,
    Accuracies,
    half_width,
    paired_ratios,
    share_of_gain,
    total_bytes,
)
from benchmarks.codec.catch_up import catch_up
from benchmarks.codec.decoded import CODEC_UNIT
from benchmarks.codec.label_task import HOLDOUT_EVERY
from benchmarks.codec.points import Point
from benchmarks.codec.queue import read_results
from benchmarks.codec.task import Task
from benchmarks.codec.work import units_of

Record = dict[str, Any]
HARD = ("hard-unmixed", "hard-mixed")


def collect(points: Sequence[Point], task: Task) -> list[Record]:
    """What the work directory knows of the points whose codec is there."""
    records = []
    for point in points:
        results = read_results(units_of(point, task))
        codec = results.pop(CODEC_UNIT, None)
        # Without a student there is nothing to say yet, and a committed point must not be lost.
        if codec is not None and results:
            students = sorted(results.values(), key=lambda student: int(student["seed"]))
            records.append(_measured(point, task, codec, students))
    return records


def _measured(point: Point, task: Task, codec: Record, students: list[Record]) -> Record:
    protocol = task.protocol
    return {
        "task": protocol.name,
        "codec": point.name,
        "family": str(point.family),
        "ours": point.ours,
        "teacher": task.dense.description.teacher,
        "labels": task.dense.rows.num_rows,
        "views_per_sample": protocol.views,
        "bytes_per_label": codec["payload_bytes_per_label"],
        **{name: value for name, value in codec.items() if name != "label_kind"},
        "top1_per_seed": {str(student["seed"]): student["top1"] for student in students},
        "student_seconds": [student["seconds"] for student in students],
    }


def merge(committed: Sequence[Record], measured: Sequence[Record]) -> list[Record]:
    """Measured points in the place of committed ones of the same task, teacher and codec, then new.

    A committed point with more students stays: the work directory has only begun on it.
    """
    fresh = {_identity(record): record for record in measured}
    kept = []
    for old in committed:
        new = fresh.pop(_identity(old), old)
        kept.append(new if len(new["top1_per_seed"]) >= len(old["top1_per_seed"]) else old)
    return [*kept, *fresh.values()]


def _identity(record: Record) -> tuple[str, str, str]:
    return record["task"], record["teacher"], record["codec"]


def derive(records: Sequence[Record], order: Sequence[str]) -> Record:
    """The whole file, from measured records (or from points that it held before).

    Args:
        records: of any tasks and teachers.
        order: names of codecs, as the points are to be listed.
    """
    rank = {name: position for position, name in enumerate(order)}
    ordered = sorted(records, key=lambda one: (one["task"], rank.get(one["codec"], len(rank))))
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in ordered:
        groups.setdefault((record["task"], record["teacher"]), []).append(record)
    points: list[Record] = []
    tasks: Record = {}
    for (task, teacher), group in groups.items():
        derived = [_derived(record, group) for record in group]
        points += derived
        # The teacher with most points speaks for the task.
        if task not in tasks or len(group) > tasks[task]["points"]:
            tasks[task] = {
                "teacher": teacher,
                "points": len(group),
                "ceiling": _ceiling(group),
                "hard_top1": _hard(group),
                "catch_up": catch_up(derived),
            }
    return {
        "protocol": {"holdout_every": HOLDOUT_EVERY, "student_loss": "KL, T = 1"},
        "tasks": tasks,
        "points": points,
    }


def _derived(record: Record, group: Sequence[Record]) -> Record:
    own, dense, hard = _by_seed(record), _of(group, "dense"), _hard(group)
    ratios = paired_ratios(own, dense)
    here = record["labels"]
    bytes_at = {
        labels: total_bytes(
            payload=record["payload_bytes_per_label"],
            sample_bytes=record["sample_bytes"],
            views=record["views_per_sample"],
            codec_bytes=record["codec_bytes"],
            labels=labels,
        )
        for labels in (here, *SCALES)
    }
    return record | {
        "total_bytes_per_label": {"here": bytes_at[here]}
        | {str(labels): bytes_at[labels] for labels in SCALES},
        "top1": statistics.fmean(own.values()) if own else None,
        "top1_half_width_95": half_width(list(own.values())),
        "retention": statistics.fmean(ratios) if ratios else None,
        "retention_half_width_95": half_width(ratios),
        "retention_per_seed": {
            str(seed): own[seed] / dense[seed] for seed in sorted(own.keys() & dense.keys())
        },
        "share_of_gain": None if hard is None else share_of_gain(own, dense, hard),
    }


def _ceiling(group: Sequence[Record]) -> Record | None:
    """What a perfect codec reaches: the dense runs, and how far their seeds lie apart."""
    values = list(_of(group, "dense").values())
    if not values:
        return None
    mean = statistics.fmean(values)
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {
        "top1": mean,
        "top1_seed_deviation": deviation,
        "top1_half_width_95": half_width(values),
        "retention_seed_deviation": None if deviation is None else deviation / mean,
        "seeds": len(values),
    }


def _hard(group: Sequence[Record]) -> float | None:
    """Mean accuracy of the better hard-label run."""
    means = [statistics.fmean(runs.values()) for name in HARD if (runs := _of(group, name))]
    return max(means, default=None)


def _of(group: Sequence[Record], codec: str) -> Accuracies:
    return next((_by_seed(record) for record in group if record["codec"] == codec), {})


def _by_seed(record: Record) -> dict[int, float]:
    return {int(seed): top1 for seed, top1 in record["top1_per_seed"].items()}


def read_points(path: Path) -> list[Record]:
    """Points of a result file; none where there is none."""
    if not path.is_file():
        return []
    points: list[Record] = json.loads(path.read_text())["points"]
    return points
