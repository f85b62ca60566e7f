"""The two kinds of work of a point: its labels once, then a student for each kind and seed."""

import json
from pathlib import Path
from typing import Any

from benchmarks.codec.contract import Fit
from benchmarks.codec.decoded import CODEC_UNIT, LABELS_NAME, decode_all, fit_codec, yardstick
from benchmarks.codec.fidelity import measure
from benchmarks.codec.queue import Unit, write_result
from benchmarks.imagenet.parts import Part
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.points import Point, Recipe, Students, Supervision, all_points
from benchmarks.imagenet.students import Teaching, train
from benchmarks.imagenet.view_labels import ViewLabels
from labelcast.codec import LabelKind
from labelcast_producers.dense.files import LabelFile


def units_of(point: Point, place: Place, seeds: int) -> list[Unit]:
    """All units of a point, the codec before the students, which come seed by seed."""
    directory = place.of(point.name)
    names = [f"{students.name}-{seed}" for seed in range(seeds) for students in point.students]
    decoded = point.fit is not None and bool(point.students)
    scratch = directory / LABELS_NAME if decoded else None
    return [Unit(point.name, name, directory, scratch) for name in (CODEC_UNIT, *names)]


def do_unit(place: Place, unit: Unit) -> dict[str, Any]:
    """Do one unit and write its result: from then on it is done."""
    point = all_points()[unit.point]
    unit.directory.mkdir(parents=True, exist_ok=True)
    if unit.name != CODEC_UNIT:
        name, _, seed = unit.name.rpartition("-")
        (students,) = (each for each in point.students if each.name == name)
        result = _train(point, place, students, unit.directory, seed=int(seed))
    else:
        name = "train" if point.recipe is Recipe.SRE2L else "rded"
        task = ViewLabels(place.labels(name), place.scale.fit_steps, point.temperature)
        if point.fit is None:
            result = yardstick(task, dense=point.supervision is Supervision.DENSE)
            result["fitted"] = result["unseen"]
        else:
            result = _fit_and_compare(point.fit, task, unit)
    write_result(unit.result, result)
    return result


def _train(
    point: Point, place: Place, students: Students, directory: Path, *, seed: int
) -> dict[str, Any]:
    codec = json.loads((directory / f"{CODEC_UNIT}.json").read_text())
    if point.supervision is Supervision.DECODED:
        labels, kind = directory / LABELS_NAME, LabelKind(codec["label_kind"])
    else:
        dense = place.teachers(Part.TRAIN)
        assert isinstance(dense.rows, LabelFile)
        labels, kind = dense.rows.path, dense.description.label_kind
    teaching = Teaching(
        place.teachers(Part.TRAIN), point.supervision, labels, kind, point.temperature
    )
    # A later encoder may give other labels: what these were belongs to the student.
    taught = {"kl_taught": codec["unseen"]["kl_nats"]}
    return train(place, students, teaching, seed=seed) | taught


def _fit_and_compare(fit: Fit, task: ViewLabels, unit: Unit) -> dict[str, Any]:
    codec, facts = fit_codec(fit, task, unit.directory / "fit")
    unseen = task.unseen_rows()
    facts["unseen"] = measure(codec, task, unseen)
    facts["fitted"] = measure(codec, task, task.fitted_rows(len(unseen)))
    speeds = {} if unit.scratch is None else decode_all(codec, task, unit.scratch)
    return facts | speeds
