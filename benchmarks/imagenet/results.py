"""imagenet.json: what was measured, merged with what was committed, and what follows from it."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.codec.decoded import CODEC_UNIT
from benchmarks.codec.queue import read_results
from benchmarks.imagenet.comparison import compare_mean_label, photographs_of
from benchmarks.imagenet.measures import measures_of
from benchmarks.imagenet.parts import TESTED, Part
from benchmarks.imagenet.photographs import thing
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.points import DENSE, HARD, HARD_SMOOTHED, Kept, Point, all_points
from benchmarks.imagenet.settings import FIRST_STUDENT, TEACHER_NAME
from benchmarks.imagenet.shares import paired_sums, share_kept, sums_by_seed, sums_of_things
from benchmarks.imagenet.steps import kept_rows
from benchmarks.imagenet.work import units_of

Record = dict[str, Any]
_MAX_SEEDS = 16


def collect(place: Place) -> Record:
    """What the work directory knows: protocol, and the points whose labels are there."""
    training = place.teachers(Part.TRAIN)
    records = [record for point in all_points().values() for record in _collected(point, place)]
    return {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("torch", "numpy", "faiss-cpu")},
        "protocol": place.scale.as_json()
        | {
            "teacher": TEACHER_NAME,
            "teacher_digest": training.description.teacher,
            "training_digest": training.description.dataset,
            "labels": training.rows.num_rows,
            "tested": {str(part): _tested(place, part) for part in TESTED},
        },
        "prepared": place.facts,
        "mean_label": compare_mean_label(place),
        "things": {str(part): _things(place, part) for part in TESTED},
        "points": records,
    }


def _tested(place: Place, part: Part) -> Record:
    labels, (photographs, crops) = place.teachers(part), photographs_of(place, part)
    return {
        "digest": labels.description.dataset,
        "crops": len(crops),
        "photographs": len(photographs),
    }


def _things(place: Place, part: Part) -> list[int]:
    """For each photograph, which thing it shows."""
    shown = [thing(name) for name in photographs_of(place, part)[0]]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(shown))}
    return [numbers[name] for name in shown]


def _collected(point: Point, place: Place) -> list[Record]:
    """A record for each choice of views that have labels; none before there are labels."""
    results = read_results(units_of(point, place, _MAX_SEEDS))
    codec = results.pop(CODEC_UNIT, None)
    if codec is None:
        return []
    records = []
    for kept in dict.fromkeys([Kept.ALL, *(students.kept for students in point.students)]):
        taught = {
            str(students.architecture): [
                results[f"{students.name}-{seed}"]
                for seed in range(_MAX_SEEDS)
                if f"{students.name}-{seed}" in results
            ]
            for students in point.students
            if students.kept is kept
        }
        records.append(_record(point, kept, codec, taught, place))
    return records


def _record(
    point: Point, kept: Kept, codec: Record, taught: dict[str, list[Record]], place: Place
) -> Record:
    share = kept_rows(kept, place.scale) / kept_rows(Kept.ALL, place.scale)
    whole = kept is Kept.ALL
    payload = codec["payload_bytes_per_label"]
    return {
        "codec": point.name if whole else f"{point.name}-{kept}",
        "title": point.title if whole else f"{_KEPT_TITLES[kept]}, our codes of {payload} B",
        "ours": point.ours and whole,
        "recipe": str(point.recipe),
        "temperature": point.temperature,
        "decoded": point.fit is not None,
        "bytes_per_label": payload * share,
        "views_with_labels": share,
        **{name: value for name, value in codec.items() if name != "label_kind"},
        "kl_unseen": codec["unseen"]["kl_nats"],
        "kl_fitted": codec["fitted"]["kl_nats"],
        "students": taught,
    }


_KEPT_TITLES = {
    Kept.PRUNED: "views pruned (LPLD)",
    Kept.FEW: "few views (HALD)",
}


def merged(path: Path, result: Record) -> Record:
    """With points that an earlier run of the same protocol measured.

    A point with more students stays: the work directory has only begun on it.
    """
    if not path.is_file():
        return result
    before = json.loads(path.read_text())
    if before["protocol"] != result["protocol"]:
        return result
    found = {point["codec"]: point for point in before["points"]}
    for point in result["points"]:
        old = found.get(point["codec"])
        if old is None or _students(point) >= _students(old):
            found[point["codec"]] = point
    return result | {"points": list(found.values())}


def _students(point: Record) -> int:
    return sum(map(len, point["students"].values()))


def derive(result: Record) -> Record:
    """With shares, means and measures."""
    by_name = {point["codec"]: point for point in result["points"]}
    points = []
    for point in result["points"]:
        figures = {
            architecture: {
                str(part): _figures(students, architecture, part, by_name, result)
                for part in TESTED
            }
            for architecture, students in point["students"].items()
            if students
        }
        main = figures.get(FIRST_STUDENT, {}).get(Part.HELD_OUT, {})
        shares = {name: main.get(name) for name in ("share_kept", "share_kept_95")}
        points.append(point | {"by_architecture": figures} | shares)
    found = result | {"points": points}
    return found | {"measures": measures_of(found)}


def _figures(
    students: Sequence[Record],
    architecture: str,
    part: Part,
    by_name: dict[str, Record],
    result: Record,
) -> Record:
    found: Record = {
        name: statistics.fmean(student[part][name] for student in students)
        for name in ("kl", "top1", "top5")
    }
    found["kl_by_seed"] = {str(student["seed"]): student[part]["kl"] for student in students}
    things = result["things"][part]
    sums = sums_by_seed(students, part, things)
    hard, smoothed, dense = (
        sums_by_seed(by_name.get(name, {}).get("students", {}).get(architecture, []), part, things)
        for name in (HARD, HARD_SMOOTHED, DENSE)
    )
    # A student that has seen no image is the same whatever its seed.
    untaught = sums_of_things(result["mean_label"][part]["kl_by_photograph"], things)
    mean = dict.fromkeys(sums, untaught)
    for name, least in (
        ("share_kept", hard),
        ("share_kept_of_smoothed", smoothed),
        ("share_kept_of_mean", mean),
    ):
        paired = paired_sums(sums, least, dense)
        share, interval = (None, None) if paired is None else share_kept(*paired)
        found |= {name: share, f"{name}_95": interval}
    return found
