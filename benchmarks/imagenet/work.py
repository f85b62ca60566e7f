"""The two kinds of work of a point: its labels once, then a student for each kind and seed."""

import json
from pathlib import Path
from typing import Any

from benchmarks.codec.contract import SAMPLE_BYTES, Fit
from benchmarks.codec.decoded import decode_all, fit_codec
from benchmarks.codec.fidelity import measure
from benchmarks.codec.queue import Unit, write_result
from benchmarks.imagenet.parts import Part
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.points import Point, Recipe, Students, Supervision, all_points
from benchmarks.imagenet.settings import CLASSES
from benchmarks.imagenet.students import Teaching, train
from benchmarks.imagenet.view_labels import ViewLabels
from labelcast.codec import LabelKind
from labelcast_producers.dense.files import LabelFile

CODEC_UNIT = "codec"
_LABELS_NAME = "labels.npy"
_NO_FIDELITY = dict.fromkeys(("kl_nats", "reverse_kl_nats", "top1_agreement", "top5_agreement"))
_PERFECT = {"kl_nats": 0.0, "reverse_kl_nats": 0.0, "top1_agreement": 1.0, "top5_agreement": 1.0}


def units_of(point: Point, place: Place, seeds: int) -> list[Unit]:
    """All units of a point, the codec before the students, which come seed by seed."""
    directory = place.of(point.name)
    names = [f"{students.name}-{seed}" for seed in range(seeds) for students in point.students]
    decoded = point.fit is not None and bool(point.students)
    scratch = directory / _LABELS_NAME if decoded else None
    return [Unit(point.name, name, directory, scratch) for name in (CODEC_UNIT, *names)]


def do_unit(place: Place, unit: Unit) -> dict[str, Any]:
    """Do one unit and write its result: from then on it is done."""
    point = all_points()[unit.point]
    unit.directory.mkdir(parents=True, exist_ok=True)
    if unit.name != CODEC_UNIT:
        name, _, seed = unit.name.rpartition("-")
        (students,) = (each for each in point.students if each.name == name)
        result = _train(point, place, students, unit.directory, seed=int(seed))
    elif point.fit is None:
        result = _yardstick(point, place)
    else:
        result = _fit_and_compare(point, point.fit, place, unit)
    write_result(unit.result, result)
    return result


def _train(
    point: Point, place: Place, students: Students, directory: Path, *, seed: int
) -> dict[str, Any]:
    codec = json.loads((directory / f"{CODEC_UNIT}.json").read_text())
    if point.supervision is Supervision.DECODED:
        labels, kind = directory / _LABELS_NAME, LabelKind(codec["label_kind"])
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


def _yardstick(point: Point, place: Place) -> dict[str, Any]:
    dense = point.supervision is Supervision.DENSE
    fidelity = _PERFECT if dense else _NO_FIDELITY
    return {
        "label_kind": str(place.teachers(Part.TRAIN).description.label_kind),
        "payload_bytes_per_label": 2 * CLASSES if dense else 0,
        "codec_bytes": 0,
        "sample_bytes": SAMPLE_BYTES,
        "fit_seconds": 0.0,
        "choice": {},
        "unseen": fidelity,
        "fitted": fidelity,
    }


def _fit_and_compare(point: Point, fit: Fit, place: Place, unit: Unit) -> dict[str, Any]:
    name = "train" if point.recipe is Recipe.SRE2L else "rded"
    task = ViewLabels(place.labels(name), place.scale.fit_steps, point.temperature)
    codec, facts = fit_codec(fit, task, unit.directory / "fit")
    unseen = task.unseen_rows()
    facts["unseen"] = measure(codec, task, unseen)
    facts["fitted"] = measure(codec, task, task.fitted_rows(len(unseen)))
    speeds = {} if unit.scratch is None else decode_all(codec, task, unit.scratch)
    return facts | speeds
