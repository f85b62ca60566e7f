"""Command line of the benchmark; see the package for its use."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

# Before torch: one thread a worker, and none that spins while it waits.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.codec.plot import write_plot
from benchmarks.codec.points import QUICK_POINTS, Point, all_points
from benchmarks.codec.pool import run_in_processes
from benchmarks.codec.queue import missing, write_result
from benchmarks.codec.results import collect, derive, merge, read_points
from benchmarks.codec.task import QUICK, TASKS, Task, prepare
from benchmarks.codec.work import do_unit, units_of
from benchmarks.telling import say, tell

ROOT = Path(__file__).parents[2]
RESULT = Path(__file__).parents[1] / "results" / "codec.json"
PLOT = ROOT / "docs" / "codec.png"
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is missing, then write codec.json and the plot; 1 if a point failed."""
    parser = argparse.ArgumentParser(description="Compare codecs by the students they train.")
    parser.add_argument("--task", choices=list(TASKS), default="glyphs-1000")
    parser.add_argument("--point", default="", help="names, separated by commas; default all")
    parser.add_argument("--quick", action="store_true", help="a few points in minutes, for a check")
    parser.add_argument("--list", action="store_true", help="show what is done and what is missing")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="worker processes")
    options = parser.parse_args(arguments)
    work = Path(os.environ.get("BENCH_DIR", ROOT / "bench-out"))
    protocol = QUICK if options.quick else TASKS[options.task]
    points = all_points()
    names = [name for name in options.point.split(",") if name]
    names = names or list(QUICK_POINTS if options.quick else points)
    unknown = [name for name in names if name not in points]
    if unknown or options.jobs < 1:
        parser.error(f"unknown points {unknown}" if unknown else "--jobs must be at least 1")
    wanted = [points[name] for name in names]
    directory = work / protocol.name
    if options.list:
        _list(wanted, Task(protocol, directory))
        return 0
    try:
        task = prepare(protocol, directory)
        units = [units_of(point, task) for point in wanted]
        failed = run_in_processes(
            units,
            partial(do_unit, task),
            jobs=options.jobs,
            tell=partial(tell, describe=_described),
        )
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return _INTERRUPTED
    except (OSError, ValueError) as error:
        say(f"error: {error}")
        return 1
    _write(task, list(points.values()), work / "codec-quick.json" if options.quick else None)
    return int(failed > 0)


def _described(result: dict[str, Any]) -> str:
    if "top1" in result:
        return f"top-1 {result['top1']:.2%}"
    kl = result["unseen"]["kl_nats"]
    return f"{result['payload_bytes_per_label']} B, unseen KL {kl if kl is None else f'{kl:.3f}'}"


def _list(wanted: Sequence[Point], task: Task) -> None:
    for point in wanted:
        units = units_of(point, task)
        left = [unit.name for unit in missing(units)]
        state = f"missing {', '.join(left)}" if left else "done"
        print(f"{point.name:18} {sum(unit.done for unit in units)}/{len(units)}  {state}")


def _write(task: Task, points: Sequence[Point], quick: Path | None) -> None:
    path = quick or RESULT
    committed = [] if quick else read_points(path)
    names = [point.name for point in points]
    result = derive(merge(committed, collect(points, task)), names)
    write_result(path, result)
    plot = path.with_suffix(".png") if quick else PLOT
    name = task.protocol.name
    if not quick and name != next(iter(TASKS)):
        plot = plot.with_name(f"codec-{name}.png")
    write_plot(result, name, plot)
    if any(point["retention"] is None for point in result["points"] if point["task"] == name):
        say("some points have no retention: run the point `dense` of the same task")
    shown, mine = result["tasks"].get(name), task.dense.description.teacher
    if shown is not None and shown["teacher"] != mine:
        say(
            f"tables and plot show the {shown['points']} points of another teacher,"
            f" {shown['teacher']}; run more of {mine}, and they show those"
        )
    say(f"{path} and {plot}")


if __name__ == "__main__":
    sys.exit(main())
