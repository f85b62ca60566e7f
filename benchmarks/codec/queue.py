"""A queue that survives its process: a unit is done when its JSON file is there.

The first unit of a point makes what the others need. Files that only they need are deleted when
the last of them is done.
"""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelcast.files import write_whole


@dataclass(frozen=True)
class Unit:
    """One piece of work.

    Attributes:
        point: what it belongs to.
        name: within the point.
        directory: of the point.
        scratch: file that the first unit writes for the others; None if they need none.
    """

    point: str
    name: str
    directory: Path
    scratch: Path | None

    @property
    def result(self) -> Path:
        """Its JSON file."""
        return self.directory / f"{self.name}.json"

    @property
    def done(self) -> bool:
        """Whether it needs no more work."""
        return self.result.is_file()


@dataclass(frozen=True)
class Finished:
    """What is told of a unit: its result, or what went wrong."""

    unit: Unit
    result: dict[str, Any] | None
    error: BaseException | None
    seconds: float
    position: int
    total: int
    seconds_left: float


def missing(units: Sequence[Unit]) -> list[Unit]:
    """The units of one point that are to be done, in order.

    Includes the first if it is done, but what it wrote for the others is gone.
    """
    left = [unit for unit in units if not unit.done]
    first = units[0]
    gone = first.scratch is not None and not first.scratch.is_file()
    if left and gone and first not in left:
        return [first, *left]
    return left


def run(
    points: Sequence[Sequence[Unit]],
    submit: Callable[[Unit], "Future[dict[str, Any]]"],
    *,
    jobs: int,
    tell: Callable[[Finished], None],
) -> int:
    """Do all that is missing.

    Args:
        points: units of each point, in the order they are wanted.
        submit: starts a unit; its result is written by whoever does the work.
        jobs: units under way at once.
        tell: called for each unit that has ended.

    Returns:
        How many points have failed; the rest of a failed point is left for the next call.
    """
    queues = [missing(units) for units in points]
    total = sum(map(len, queues))
    running: dict[Future[dict[str, Any]], tuple[Unit, float]] = {}
    firsts = {units[0] for units in points}
    failed: set[str] = set()
    position = 0
    estimate = _Estimate(jobs)
    while True:
        for queue in queues:
            while queue and len(running) < jobs and _ready(queue[0], firsts, running):
                unit = queue.pop(0)
                running[submit(unit)] = (unit, time.perf_counter())
        if not running:
            break
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            unit, began = running.pop(future)
            seconds = time.perf_counter() - began
            error = future.exception()
            if error is not None:
                failed.add(unit.point)
                for queue in queues:
                    if queue and queue[0].point == unit.point:
                        total -= len(queue)
                        queue.clear()
            estimate.add(unit, seconds)
            position += 1
            result = None if error is not None else future.result()
            waiting = [unit for queue in queues for unit in queue]
            under_way = [unit for unit, _ in running.values()]
            left = estimate.left([*waiting, *under_way])
            tell(Finished(unit, result, error, seconds, position, total, left))
        _clean(points, failed)
    return len(failed)


def _ready(
    unit: Unit, firsts: set[Unit], running: dict["Future[dict[str, Any]]", tuple[Unit, float]]
) -> bool:
    """Whether nothing that it needs is still under way."""
    return unit in firsts or not any(
        other.point == unit.point and other in firsts for other, _ in running.values()
    )


def _clean(points: Sequence[Sequence[Unit]], failed: set[str]) -> None:
    for units in points:
        scratch = units[0].scratch
        if scratch is not None and units[0].point not in failed and all(u.done for u in units):
            scratch.unlink(missing_ok=True)


class _Estimate:
    """Time left, from the mean of units of the same kind."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._seconds: dict[str, list[float]] = {}

    def add(self, unit: Unit, seconds: float) -> None:
        self._seconds.setdefault(self._kind(unit), []).append(seconds)

    def left(self, units: Sequence[Unit]) -> float:
        everything = [value for values in self._seconds.values() for value in values]
        known = {kind: sum(values) / len(values) for kind, values in self._seconds.items()}
        mean = sum(everything) / len(everything)
        return sum(known.get(self._kind(unit), mean) for unit in units) / self._jobs

    @staticmethod
    def _kind(unit: Unit) -> str:
        return unit.name.partition("-")[0]


def write_result(path: Path, result: object) -> None:
    """Write a result as JSON, whole or not at all, in a directory that is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(result, indent=1) + "\n").encode())


def read_results(units: Sequence[Unit]) -> dict[str, dict[str, Any]]:
    """Results of the units of a point that are done, by name."""
    return {unit.name: json.loads(unit.result.read_text()) for unit in units if unit.done}
