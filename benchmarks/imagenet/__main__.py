"""Command line of the benchmark; see the package for its use."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

# Before torch: one thread a process, and none that spins while it waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.codec.pool import run_in_processes
from benchmarks.codec.queue import missing, write_result
from benchmarks.imagenet.parts import TESTED, Part
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.plot import write_plot
from benchmarks.imagenet.points import QUICK_POINTS, all_points
from benchmarks.imagenet.preparation import prepare
from benchmarks.imagenet.results import collect, derive, merged
from benchmarks.imagenet.settings import FULL, QUICK
from benchmarks.imagenet.student_views import write_views
from benchmarks.imagenet.table import students_table
from benchmarks.imagenet.work import do_unit, units_of
from benchmarks.telling import say, tell
from labelcast_producers.cli.progress_bar import progress_bar

ROOT = Path(__file__).parents[2]
RESULT = Path(__file__).parents[1] / "results" / "imagenet.json"
PLOT = ROOT / "docs" / "imagenet.png"
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is missing, then write imagenet.json and the plot; 1 if a point failed."""
    points = all_points()
    parser = argparse.ArgumentParser(description="Compare labels of photographs by their students.")
    parser.add_argument("--point", default="", help="names, separated by commas; default all")
    parser.add_argument("--seeds", type=int, default=3, help="students of each kind")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--quick", action="store_true", help="a tiny run, for a check")
    parser.add_argument("--list", action="store_true", help="show what is done and what is missing")
    options = parser.parse_args(arguments)
    names = [name for name in options.point.split(",") if name]
    names = names or list(QUICK_POINTS if options.quick else points)
    unknown = [name for name in names if name not in points]
    if unknown or min(options.jobs, options.seeds) < 1:
        parser.error(
            f"unknown points {unknown}; there are {', '.join(points)}"
            if unknown
            else "--jobs and --seeds must be at least 1"
        )
    work = Path(os.environ.get("BENCH_DIR", ROOT / "bench-out")).resolve()
    scale = QUICK if options.quick else FULL
    place = Place(scale, work / scale.name)
    wanted = [units_of(points[name], place, options.seeds) for name in names]
    if options.list:
        for units in wanted:
            left = ", ".join(unit.name for unit in missing(units))
            print(f"{units[0].point:20} {f'missing {left}' if left else 'done'}")
        return 0
    try:
        prepare(place, work / "debian", jobs=options.jobs)
        with progress_bar("views of students", "view", quiet=False) as progress:
            write_views(place, jobs=options.jobs, progress=progress)
        failed = run_in_processes(
            wanted,
            partial(do_unit, place),
            jobs=options.jobs,
            tell=partial(tell, describe=_described),
        )
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return _INTERRUPTED
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        say(f"error: {error}")
        return 1
    _write(place, place.directory / "imagenet.json" if options.quick else RESULT, options.quick)
    return int(failed > 0)


def _write(place: Place, out: Path, quick: bool) -> None:
    result = derive(merged(out, collect(place)))
    write_result(out, result)
    plot = out.with_suffix(".png") if quick else PLOT
    write_plot(result, plot)
    say(f"{students_table(result)}\n{out} and {plot}")


def _described(result: dict[str, Any]) -> str:
    if Part.HELD_OUT in result:
        return "; ".join(
            f"{part}: KL {result[part]['kl']:.3f}, top-1 {result[part]['top1']:.1%}"
            for part in TESTED
        )
    kl = result["unseen"]["kl_nats"]
    return (
        f"{result['payload_bytes_per_label']} B, unseen KL {'none' if kl is None else f'{kl:.3f}'}"
    )


if __name__ == "__main__":
    sys.exit(main())
