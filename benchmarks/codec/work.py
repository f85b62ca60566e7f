"""The two kinds of work of a point: fit and decode once, then a student for each seed."""

import json
from pathlib import Path
from typing import Any

from benchmarks.codec.contract import Fit
from benchmarks.codec.decoded import CODEC_UNIT, LABELS_NAME, decode_all, fit_codec, yardstick
from benchmarks.codec.fidelity import measure
from benchmarks.codec.points import Point, Supervision, all_points
from benchmarks.codec.queue import Unit, write_result
from benchmarks.codec.task import Task
from labelcast.codec import LabelKind
from labelcast_producers.dense.files import LabelFile


def student_unit(seed: int) -> str:
    """Name of a student's unit."""
    return f"student-{seed}"


def units_of(point: Point, task: Task) -> list[Unit]:
    """All units of a point, the first before the others."""
    directory = task.directory / "points" / point.name
    names = [CODEC_UNIT, *(student_unit(seed) for seed in point.seeds(task.protocol))]
    decoded = point.fit is not None
    return [
        Unit(point.name, name, directory, directory / LABELS_NAME if decoded else None)
        for name in names
    ]


def execute(point: Point, task: Task, unit: str) -> dict[str, Any]:
    """Do one unit.

    Returns:
        Its result, JSON values.
    """
    directory = task.directory / "points" / point.name
    directory.mkdir(parents=True, exist_ok=True)
    if unit == CODEC_UNIT:
        if point.fit is None:
            return yardstick(task, dense=point.supervision is Supervision.DENSE)
        return _fit_and_decode(point.fit, task, directory)
    seed = int(unit.rpartition("-")[2])
    if point.supervision is Supervision.DENSE:
        dense = task.dense
        assert isinstance(dense.rows, LabelFile)
        return _train(task, point, dense.rows.path, dense.description.label_kind, seed)
    kind = LabelKind(json.loads((directory / f"{CODEC_UNIT}.json").read_text())["label_kind"])
    return _train(task, point, directory / LABELS_NAME, kind, seed)


def _train(task: Task, point: Point, labels: Path, kind: LabelKind, seed: int) -> dict[str, Any]:
    from benchmarks.codec.student import train

    return train(task, point.supervision, labels, kind, seed=seed)


def _fit_and_decode(fit: Fit, task: Task, directory: Path) -> dict[str, Any]:
    codec, facts = fit_codec(fit, task, directory / "fit")
    unseen = measure(codec, task, task.unseen_rows())
    return facts | decode_all(codec, task, directory / LABELS_NAME) | {"unseen": unseen}


def do_unit(task: Task, unit: Unit) -> dict[str, Any]:
    """Do one unit and write its result: from then on it is done."""
    result = execute(all_points()[unit.point], task, unit.name)
    write_result(unit.result, result)
    return result
