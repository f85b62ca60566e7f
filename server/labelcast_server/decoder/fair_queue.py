"""Which rows are decoded next: jobs of many streams, in groups that take turns.

A group holds jobs that can be decoded together: one codec, one form. Groups take turns (round
robin), and a turn is bounded in bytes and in time, so that a slow codec delays the others only
briefly. Within a group, jobs are first come, first served, and many small ones share a turn, which
is where the throughput comes from.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

Group = TypeVar("Group", bound=Hashable)
Job = TypeVar("Job", bound="Countable")

# float32 labels held at once; softmax and top-k take a few times as much.
TURN_LABEL_BYTES = 2**25
# Above this a device is busy anyway, and the first stream in the batch would only wait longer.
TURN_ROWS = 8192
TURN_SECONDS = 0.15
# Until a decoder has been timed: small enough for the slowest codec.
_FIRST_ROWS = 16
_GROWTH = 4


class Countable(Protocol):
    """Something with a number of rows."""

    @property
    def count(self) -> int:
        """Rows of the job, at least 1."""
        ...


@dataclass(frozen=True, slots=True)
class Part(Generic[Job]):
    """Rows `start` to `stop` of a job."""

    job: Job
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Rows."""
        return self.stop - self.start


class Pace:
    """How many rows of a decoder make one turn.

    Args:
        row_label_bytes: size of the float32 labels of one row.
    """

    def __init__(self, row_label_bytes: int) -> None:
        self._most = max(1, min(TURN_ROWS, TURN_LABEL_BYTES // max(1, row_label_bytes)))
        self._rows = min(self._most, _FIRST_ROWS)

    @property
    def rows(self) -> int:
        """Rows of the next turn, at least 1."""
        return self._rows

    def note(self, rows: int, seconds: float) -> None:
        """Update the pace after a turn of `rows` rows that took `seconds`."""
        if seconds > TURN_SECONDS:
            self._rows = max(1, min(self._most, int(rows * TURN_SECONDS / seconds)))
        elif rows >= self._rows:
            fitting = int(rows * TURN_SECONDS / max(seconds, 1e-6))
            self._rows = max(self._rows, min(self._most, self._rows * _GROWTH, fitting))


@dataclass(slots=True)
class _Line(Generic[Job]):
    jobs: deque[Job] = field(default_factory=deque)
    # Rows of the first job that earlier turns have taken.
    taken: int = 0


class FairQueue(Generic[Group, Job]):
    """Jobs waiting to be decoded; one consumer takes turns from it.

    Everything happens in one event loop.
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[Group, _Line[Job]] = OrderedDict()
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return sum(len(line.jobs) for line in self._lines.values())

    def put(self, group: Group, job: Job, *, next_in_turn: bool = False) -> None:
        """Queue a job.

        Args:
            group: jobs that it can be decoded together with.
            job: must have at least one row.
            next_in_turn: put the group before all others, once the running turn is done.
        """
        self._lines.setdefault(group, _Line()).jobs.append(job)
        if next_in_turn:
            self._lines.move_to_end(group, last=False)
        self._filled.set()

    async def wait(self) -> Group:
        """Wait until a job is queued; return the group whose turn it is."""
        await self._filled.wait()
        return next(iter(self._lines))

    def take(self, group: Group, rows: int) -> list[Part[Job]]:
        """Take up to `rows` rows of a group, at least one, and move the group behind the others.

        Returns:
            Parts in the order of their jobs. A job that does not fit is cut, and its remaining rows
            come first in the group's next turn.
        """
        line, parts = self._lines[group], list[Part[Job]]()
        while line.jobs and rows > 0:
            job, start = line.jobs[0], line.taken
            stop = min(job.count, start + rows)
            parts.append(Part(job, start, stop))
            rows -= stop - start
            if stop < job.count:
                line.taken = stop
                break
            line.jobs.popleft()
            line.taken = 0
        if line.jobs:
            self._lines.move_to_end(group)
        else:
            del self._lines[group]
            if not self._lines:
                self._filled.clear()
        return parts

    def drop(self, group: Group, job: Job) -> None:
        """Forget a job: its remaining rows need not be decoded."""
        line = self._lines.get(group)
        if line is None or job not in line.jobs:
            return
        if line.jobs[0] is job:
            line.taken = 0
        line.jobs.remove(job)
        if not line.jobs:
            del self._lines[group]
            if not self._lines:
                self._filled.clear()
