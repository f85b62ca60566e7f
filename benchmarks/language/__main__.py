"""Command line of the benchmark; see the package for its use."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

# Before torch: one thread a process.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.codec.queue import missing, write_result
from benchmarks.language.jobs import run_units
from benchmarks.language.place import Place
from benchmarks.language.plot import write_plot
from benchmarks.language.points import POINTS
from benchmarks.language.preparation import installed_teacher, prepare
from benchmarks.language.results import collect, derive, merged
from benchmarks.language.settings import FULL, QUICK
from benchmarks.language.table import students_table
from benchmarks.telling import say, tell

ROOT = Path(__file__).parents[2]
RESULT = Path(__file__).parents[1] / "results" / "language.json"
PLOT = ROOT / "docs" / "language.png"
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is missing, then write language.json and the plot; 1 if a point failed."""
    parser = argparse.ArgumentParser(description="Compare labels of text by their students.")
    parser.add_argument("--point", default="", help="names, separated by commas; default all")
    parser.add_argument("--seeds", type=int, default=2, help="students of each point")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--teacher", type=Path, help="GGUF file; default the installed one")
    parser.add_argument("--quick", action="store_true", help="a tiny run, for a check")
    parser.add_argument("--list", action="store_true", help="show what is done and what is missing")
    parser.add_argument("--work", type=Path, help="by default BENCH_DIR or bench-out")
    options = parser.parse_args(arguments)
    names = [name for name in options.point.split(",") if name] or list(POINTS)
    unknown = [name for name in names if name not in POINTS]
    if unknown or min(options.jobs, options.seeds) < 1:
        parser.error(
            f"unknown points {unknown}; there are {', '.join(POINTS)}"
            if unknown
            else "--jobs and --seeds must be at least 1"
        )
    work = (options.work or Path(os.environ.get("BENCH_DIR", ROOT / "bench-out"))).resolve()
    scale = QUICK if options.quick else FULL
    place = Place(scale, work / scale.name)
    wanted = [place.units(POINTS[name], options.seeds) for name in names]
    if options.list:
        for units in wanted:
            left = ", ".join(unit.name for unit in missing(units))
            print(f"{units[0].point:14} {f'missing {left}' if left else 'done'}")
        return 0
    try:
        teacher = options.teacher or installed_teacher()
        prepare(place, teacher.resolve(), work / "debian", jobs=options.jobs)
        failed = run_units(
            wanted, place, jobs=options.jobs, tell=partial(tell, describe=_described)
        )
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return _INTERRUPTED
    except (subprocess.CalledProcessError, OSError, ValueError) as error:
        say(f"error: {error}")
        return 1
    _write(place, place.directory / "language.json" if options.quick else RESULT, options.quick)
    return int(failed > 0)


def _write(place: Place, out: Path, quick: bool) -> None:
    result = derive(merged(out, collect(place)))
    write_result(out, result)
    plot = out.with_suffix(".png") if quick else PLOT
    write_plot(result, plot)
    for first, second in result["undecided"]:
        say(f"students of {first} and {second} cannot be told apart: --seeds 3 adds a third")
    say(f"{students_table(result)}\n{out} and {plot}")


def _described(result: dict[str, Any]) -> str:
    if "held_out_nats" in result:
        return f"held out {', '.join(f'{nats:.3f}' for nats in result['held_out_nats'])} nats"
    return f"{result['payload_bytes_per_token']} B a token"


if __name__ == "__main__":
    sys.exit(main())
