"""Units of work, each in a process of its own, a few at a time."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.codec.queue import Finished, Unit, run
from benchmarks.language.place import Place

ROOT = Path(__file__).parents[2]


def run_units(
    points: Sequence[Sequence[Unit]],
    place: Place,
    *,
    jobs: int,
    tell: Callable[[Finished], None],
) -> int:
    """Do all that is missing of some points; how many of them have failed.

    Args:
        points: units of each.
        place: of the run.
        jobs: processes at once.
        tell: called for each unit that has ended.
    """
    running = set[subprocess.Popen[bytes]]()

    def work(unit: Unit) -> dict[str, Any]:
        scale, directory = place.scale.name, str(place.directory)
        command = [sys.executable, "-m", "benchmarks.language.job", scale, directory]
        command += [unit.point, unit.name]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
            running.add(process)
            code = process.wait()
            running.discard(process)
        if code:
            raise subprocess.CalledProcessError(code, command)
        found: dict[str, Any] = json.loads(unit.result.read_text())
        return found

    with ThreadPoolExecutor(jobs) as executor:

        def submit(unit: Unit) -> "Future[dict[str, Any]]":
            return executor.submit(work, unit)

        try:
            return run(points, submit, jobs=jobs, tell=tell)
        except BaseException:
            # What is under way will be done anew.
            for process in list(running):
                process.terminate()
            executor.shutdown(cancel_futures=True)
            raise
