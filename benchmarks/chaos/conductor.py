"""One run: students ask, faults happen, and at the end everything must be right again."""

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tqdm import tqdm

from benchmarks.chaos.catalog import SETS
from benchmarks.chaos.cluster import Cluster, running_cluster
from benchmarks.chaos.disk import fill_disk
from benchmarks.chaos.doors import Doors, tls_as_json
from benchmarks.chaos.faults import Injector
from benchmarks.chaos.label_sets import SpelledSet
from benchmarks.chaos.publishing import keep_publishing, push, read_whole
from benchmarks.chaos.tally import Tally
from benchmarks.chaos.variation import Variation

ROOT = Path(__file__).parents[2]
_FINAL_PATIENCE_SECONDS = 45.0
# Beyond a client's own patience: gRPC notices a silent peer after 80 seconds.
_HUNG_MARGIN_SECONDS = 100.0
_LINE_BYTES = 2**24


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        seed: of all draws.
        minutes: faults happen for at most so long.
        faults: at least so many are wanted.
        rows: likewise.
        processes: of students.
        threads: with synchronous clients, in each.
        tasks: with asynchronous clients, in each.
        scale: of the length of streams.
        link_pause_seconds: between faults on links.
        process_pause_seconds: between faults of processes.
        renewal_pause_seconds: between renewals of the certificate, if there is one.
        patience_seconds: of clients.
        fill_disk: also fill up a disk, of a second service.
    """

    seed: int
    minutes: float
    faults: int
    rows: int
    processes: int = 2
    threads: int = 3
    tasks: int = 3
    scale: float = 1.0
    link_pause_seconds: float = 0.3
    process_pause_seconds: float = 10.0
    renewal_pause_seconds: float = 20.0
    patience_seconds: float = 30.0
    fill_disk: bool = True

    @property
    def lanes(self) -> int:
        """Students in all."""
        return self.processes * (self.threads + self.tasks)


async def run(plan: Plan, variation: Variation) -> dict[str, Any]:
    """Run it all.

    Args:
        plan: how much of everything.
        variation: how the service runs.

    Returns:
        What `chaos.json` holds.
    """
    directory = Path(tempfile.mkdtemp(prefix="chaos-", dir="/tmp"))
    tally, began = Tally(), time.monotonic()
    try:
        async with running_cluster(directory, plan.lanes, variation) as cluster:
            restored = await _run_in(cluster, directory, plan, tally)
        disk: dict[str, Any] = {"ran": False, "why": "it was not asked for"}
        if plan.fill_disk:
            disk = await asyncio.to_thread(fill_disk, directory / "full", tally, cluster.encryption)
        seconds = time.monotonic() - began
        found = _result(plan, tally, cluster, seconds, restored=restored)
        return asdict(variation) | found | {"disk_full": disk}
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _run_in(cluster: Cluster, directory: Path, plan: Plan, tally: Tally) -> bool:
    doors = cluster.doors()
    for known in SETS:
        await asyncio.to_thread(push, known, directory / "sets" / known.tag, doors)
    injector = Injector(cluster, plan.seed, tally.faults.append)
    students = [
        asyncio.create_task(_students(cluster, directory, plan, tally, number))
        for number in range(plan.processes)
    ]
    keeping = [
        asyncio.create_task(cluster.keep_running()),
        asyncio.create_task(keep_publishing(directory / "pushed", doors, tally.take)),
    ]
    breaking = [
        asyncio.create_task(_again_and_again(injector.on_a_link, plan.link_pause_seconds, 12)),
        asyncio.create_task(_again_and_again(injector.on_a_process, plan.process_pause_seconds, 1)),
    ]
    if cluster.encryption is not None:
        renewing = _again_and_again(injector.on_the_certificate, plan.renewal_pause_seconds, 1)
        breaking.append(asyncio.create_task(renewing))
    try:
        await _until_enough(plan, tally, [*students, *keeping, *breaking])
        await _cancel(breaking)
        # Long enough for what was killed last to be noticed.
        await asyncio.sleep(2)
        restored = await _shows_newest_certificate(cluster)
        for known in SETS:
            restored &= await _is_right(known, doors, tally)
        return restored
    finally:
        await _cancel(breaking)
        for student in students:
            student.cancel()
        await asyncio.gather(*students, return_exceptions=True)
        await _cancel(keeping)


async def _shows_newest_certificate(cluster: Cluster) -> bool:
    deadline = time.monotonic() + _FINAL_PATIENCE_SECONDS
    while time.monotonic() < deadline:
        # A process that was killed last may not listen yet.
        with contextlib.suppress(OSError):
            if await asyncio.to_thread(cluster.shows_newest_certificate):
                return True
        await asyncio.sleep(1)
    return False


async def _is_right(known: SpelledSet, doors: Doors, tally: Tally) -> bool:
    report: dict[str, Any] = {"event": "call", "call": "final", "slot": -1}
    deadline = time.monotonic() + _FINAL_PATIENCE_SECONDS
    while True:
        try:
            judge = await asyncio.to_thread(read_whole, known, doors, _FINAL_PATIENCE_SECONDS)
        except Exception as error:  # noqa: BLE001 - reported
            if time.monotonic() < deadline:
                await asyncio.sleep(1)
                continue
            tally.take(report | {"outcome": f"untyped: not restored: {error}"[:300]})
            return False
        tally.take(report | {"outcome": "complete"} | judge.verdict.as_json())
        return not (judge.verdict.wrong or judge.verdict.lost or judge.verdict.duplicated)


async def _again_and_again(happen: Any, pause_seconds: float, at_once: int) -> None:
    """Faults follow each other at random, a few of them at the same time."""
    random = np.random.default_rng(0)
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            await asyncio.sleep(float(random.exponential(pause_seconds)))
            while len(running) >= at_once:
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            task = asyncio.create_task(happen())
            running.add(task)
            task.add_done_callback(_finished(running))
    finally:
        # What has begun is brought to its end: a process that was stopped must go on.
        await asyncio.gather(*running, return_exceptions=True)


def _finished(running: "set[asyncio.Task[None]]") -> Any:
    def finished(task: "asyncio.Task[None]") -> None:
        running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            sys.stderr.write(f"a fault failed: {task.exception()!r}\n")

    return finished


async def _until_enough(plan: Plan, tally: Tally, tasks: "list[asyncio.Task[None]]") -> None:
    deadline = time.monotonic() + 60 * plan.minutes
    with tqdm(total=plan.faults, unit="fault", file=sys.stderr, disable=None) as bar:
        while time.monotonic() < deadline:
            bar.update(len(tally.faults) - bar.n)
            bar.set_postfix(
                rows=f"{tally.counts['rows'] / 1e6:.1f}M",
                streams=tally.streams,
                wrong=tally.counts["wrong"],
                refresh=False,
            )
            if len(tally.faults) >= plan.faults and tally.counts["rows"] >= plan.rows:
                return
            ended = [task for task in tasks if task.done()]
            for task in ended:
                task.result()
            await asyncio.sleep(0.5)


async def _students(
    cluster: Cluster, directory: Path, plan: Plan, tally: Tally, number: int
) -> None:
    """Keep one process of students running; cancelled, it lets them finish."""
    per_process = plan.threads + plan.tasks
    slots = list(range(number * per_process, (number + 1) * per_process))
    for attempt in range(1000):
        config = {
            "slots": slots,
            "synchronous": plan.threads,
            "ports": {str(slot): cluster.lanes[slot].port for slot in slots},
            "tls": tls_as_json(cluster.doors().tls),
            "seed": [plan.seed, attempt],
            "scale": plan.scale,
            "sequences": cluster.variation.sequences,
            "patience_seconds": plan.patience_seconds,
            "hung_seconds": plan.patience_seconds + _HUNG_MARGIN_SECONDS,
        }
        with (directory / f"students-{number}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "benchmarks.chaos.students", json.dumps(config)),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LINE_BYTES,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        reading = asyncio.create_task(_read(process.stdout, tally))
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            process.stdin.close()
            patience = plan.patience_seconds + 2 * _HUNG_MARGIN_SECONDS
            await _at_most(reading, patience)
            if process.returncode is None and not reading.done():
                tally.hung.append(f"students {number} did not finish")
                process.kill()
            await process.wait()
            raise
        if await process.wait() != 3:
            log_text = (directory / f"students-{number}.log").read_text()
            sys.stderr.write(log_text[-2000:])
            tally.untyped.append(f"untyped: students {number} ended with {process.returncode}")


async def _read(stream: asyncio.StreamReader, tally: Tally) -> None:
    while line := await stream.readline():
        tally.take(json.loads(line))


async def _at_most(task: Awaitable[None], seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(task), seconds)


async def _cancel(tasks: "list[asyncio.Task[None]]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _result(
    plan: Plan, tally: Tally, cluster: Cluster, seconds: float, *, restored: bool
) -> dict[str, Any]:
    counts = tally.counts
    return {
        "seed": plan.seed,
        "seconds": round(seconds, 1),
        "versions": {"grpcio": grpc.__version__, "python": sys.version.split()[0]},
        "students": plan.lanes,
        "links": len(cluster.links),
        "faults_total": len(tally.faults),
        "faults": tally.by_kind(),
        "faults_by_place": tally.by_place(),
        "streams": tally.streams,
        "streams_complete": tally.complete,
        "streams_by_kind": dict(tally.kinds.most_common()),
        "calls": tally.calls,
        "rows": counts["rows"],
        "wrong": counts["wrong"],
        "lost": counts["lost"],
        "duplicated": counts["duplicated"],
        "wrong_streams": tally.wrong_streams,
        "wrong_streams_without_error": tally.silently_wrong,
        "hung": len(tally.hung),
        "untyped": len(tally.untyped),
        "restored": restored,
        "typed_errors": tally.typed_errors,
        "outcomes": dict(tally.outcomes.most_common()),
        "recovery_seconds": tally.recovery([lane.far_left_at for lane in cluster.lanes]),
        "service_restarts": cluster.restarts,
        "service_moved": cluster.service.moves,
        "examples": [*tally.whose, *tally.hung, *tally.untyped][:40],
        "failed": tally.failed or not restored,
    }
