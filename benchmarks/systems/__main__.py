"""Command line of the benchmark; see the package for its use."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Before torch: one thread a student, and none that spins while it waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.codec.queue import write_result
from benchmarks.systems import label_sets
from benchmarks.systems.commands import ROOT, push
from benchmarks.systems.label_sets import Common, Place
from benchmarks.systems.results import describe
from benchmarks.systems.settings import FULL, QUICK, SYSTEMS, TEMPERATURE, Scale, System
from benchmarks.systems.students import Student, Way, run_students
from benchmarks.systems.table import systems_table
from labelcast.errors import LabelcastError
from labelcast_glyphs.local_service import local_service

RESULT = Path(__file__).parents[1] / "results" / "systems.json"
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is missing, then write systems.json."""
    parser = argparse.ArgumentParser(description="Published systems' labels, theirs and ours.")
    parser.add_argument("--system", default="", help="names, separated by commas; default all")
    parser.add_argument("--bytes", type=int, default=8, help="of our codes, a label")
    parser.add_argument("--epochs", type=int, help="labelled, and trained by every student")
    parser.add_argument("--fit-steps", type=int, help="of every codec")
    parser.add_argument("--seeds", type=int, default=3, help="students for each way of labels")
    parser.add_argument("--jobs", type=int, default=1, help="students at once")
    parser.add_argument("--quick", action="store_true", help="a tiny run, for a check")
    parser.add_argument("--work", type=Path, help="by default BENCH_DIR or bench-out")
    parser.add_argument("--out", type=Path, help="by default systems.json of the results")
    options = parser.parse_args(arguments)
    names = [name for name in options.system.split(",") if name] or list(SYSTEMS)
    unknown = [name for name in names if name not in SYSTEMS]
    if unknown:
        parser.error(f"unknown systems {unknown}; there are {', '.join(SYSTEMS)}")
    if min(options.bytes, options.seeds, options.jobs) < 1:
        parser.error("--bytes, --seeds and --jobs must be at least 1")
    scale = _scale(options)
    work = (options.work or Path(os.environ.get("BENCH_DIR", ROOT / "bench-out"))).resolve()
    directory = work / "systems" / scale.name
    out = options.out or (directory / "systems.json" if options.quick else RESULT)
    try:
        result = _run([SYSTEMS[name] for name in names], scale, directory, options)
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        return _INTERRUPTED
    except (LabelcastError, subprocess.CalledProcessError, OSError, ValueError) as error:
        _say(f"error: {' '.join(str(error).split())}")
        return 1
    write_result(out, _merged(out, result))
    _say(f"{systems_table(result)}\n{out}")
    return 0


def _scale(options: argparse.Namespace) -> Scale:
    scale = QUICK if options.quick else FULL
    if options.epochs is not None:
        scale = replace(scale, epochs=options.epochs, name=f"{scale.name}-{options.epochs}-epochs")
    return scale if options.fit_steps is None else replace(scale, fit_steps=options.fit_steps)


def _run(
    systems: Sequence[System], scale: Scale, directory: Path, options: argparse.Namespace
) -> dict[str, Any]:
    cache = Path(os.environ.get("GLYPHS_CACHE_DIR", directory.parents[1] / "teachers"))
    common = label_sets.prepare_common(scale, directory, cache)
    return {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "protocol": {
            "task": scale.name,
            "classes": scale.teacher.num_classes,
            "images_per_class": scale.images_per_class,
            "epochs": scale.epochs,
            "temperature": TEMPERATURE,
            "bytes": options.bytes,
            "fit_steps": scale.fit_steps,
            "teacher_top1": common.facts["teacher_top1"],
        },
        "systems": [_run_system(system, scale, common, directory, options) for system in systems],
    }


def _run_system(
    system: System,
    scale: Scale,
    common: Common,
    directory: Path,
    options: argparse.Namespace,
) -> dict[str, Any]:
    place = Place.of(directory, system, scale, options.bytes)
    stored = label_sets.store_labels(system, scale, common, place)
    _say(f"{system.name}: {stored['labels']:,} labels, {stored['total_bytes']:,} bytes")
    imported = label_sets.import_labels(system, scale, common, place)
    _say(f"{system.name}: imported, sample order {imported['dense']['order']}")
    codes = label_sets.make_codes(system, scale, place, options.bytes)
    _say(f"{system.name}: codes, {codes['bytes_per_label']:.1f} bytes a label with everything")
    students = [
        Student(system, scale, common, place, way, seed)
        for seed in range(options.seeds)
        for way in Way
        # Of the same weights to the last bit: one of them shows it.
        if way is not Way.RAW or seed == 0
    ]
    _train(students, place, options.jobs)
    return describe(system, scale, stored=stored, imported=imported, codes=codes, students=students)


def _train(students: Sequence[Student], place: Place, jobs: int) -> None:
    missing = [student for student in students if not student.result.is_file()]
    if not missing:
        return
    data = place.directory / "service"
    shutil.rmtree(data, ignore_errors=True)
    with local_service(data) as service:
        served = {student.tag: student.way for student in missing if student.way is not Way.DIRECT}
        for tag, way in served.items():
            push(place.codes if way is Way.CODES else place.raw, tag, service)
        run_students(missing, service.grpc, jobs=jobs, tell=_tell)
    shutil.rmtree(data, ignore_errors=True)


def _tell(student: Student, result: dict[str, Any]) -> None:
    _say(
        f"{student.system.name}: student {student.way} {student.seed}: top-1 {result['top1']:.2%}"
        f" in {result['seconds']:.0f} s"
    )


def _merged(path: Path, result: dict[str, Any]) -> dict[str, Any]:
    """With systems that an earlier run of the same protocol measured."""
    if not path.is_file():
        return result
    before = json.loads(path.read_text())
    if before.get("protocol") != result["protocol"]:
        return result
    found = {system["system"]: system for system in [*before["systems"], *result["systems"]]}
    return result | {"systems": [found[name] for name in SYSTEMS if name in found]}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
