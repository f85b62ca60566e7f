"""One process of students: threads with the synchronous client, tasks with the asynchronous one.

Runs until its standard input ends; then every stream that runs is read to its end.
"""

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import numpy as np

from benchmarks.chaos.jobs import BatchesError, Job, next_job
from benchmarks.chaos.judge import StreamJudge
from benchmarks.chaos.reports import Slot, tell
from labelcast import (
    AsyncLabelClient,
    AsyncRemoteLabelSet,
    DeliveredLabels,
    LabelcastError,
    LabelClient,
    MissingViews,
    RemoteLabelSet,
    Representation,
    Tls,
    Views,
)

_JOBS_PER_CLIENT = 4
_DEADLINE_SECONDS = 15.0
_BREATH_SECONDS = 0.1


def main() -> None:
    """Start the slots named in the configuration, and wait."""
    config = json.loads(sys.argv[1])
    threading.excepthook = _give_up
    stopping = threading.Event()
    slots = [Slot(number) for number in config["slots"]]
    synchronous = slots[: config["synchronous"]]
    asynchronous = slots[config["synchronous"] :]
    threading.Thread(target=_watch, args=(slots, config["hung_seconds"]), daemon=True).start()
    threads = [
        threading.Thread(target=_Synchronous(slot, config, stopping).run) for slot in synchronous
    ]
    for thread in threads:
        thread.start()
    loop = threading.Thread(target=asyncio.run, args=(_run_all(asynchronous, config, stopping),))
    loop.start()
    sys.stdin.read()
    stopping.set()
    for thread in (*threads, loop):
        thread.join()


def _give_up(failure: threading.ExceptHookArgs) -> None:
    # A student that is gone would be missed by nobody.
    threading.__excepthook__(failure)
    os._exit(4)


def _watch(slots: list[Slot], hung_seconds: float) -> None:
    while True:
        time.sleep(1)
        now = time.monotonic()
        hung = [s for s in slots if s.active_at is not None and now - s.active_at > hung_seconds]
        for slot in hung:
            tell("hung", slot=slot.number, doing=slot.doing)
        if hung:
            # A thread that hangs cannot be ended in any other way.
            os._exit(3)


async def _run_all(slots: list[Slot], config: dict[str, Any], stopping: threading.Event) -> None:
    await asyncio.gather(*(_Asynchronous(slot, config, stopping).run() for slot in slots))


class _Student:
    def __init__(self, slot: Slot, config: dict[str, Any], stopping: threading.Event) -> None:
        self._slot = slot
        self._stopping = stopping
        self._scale = config["scale"]
        self._sequences = config["sequences"]
        self._address = f"127.0.0.1:{config['ports'][str(slot.number)]}"
        self._tls = False if config["tls"] is None else Tls(**config["tls"])
        self._patience = config["patience_seconds"]
        self._random = np.random.default_rng([config["seed"], slot.number])

    def _options(self, job: Job) -> dict[str, Any]:
        return {
            "tls": self._tls,
            "rows_in_flight": job.rows_in_flight,
            "reconnect_seconds": self._patience,
            "deadline_seconds": _DEADLINE_SECONDS,
        }

    def _next(self) -> Job:
        return next_job(self._random, self._scale, sequences=self._sequences)

    def _tell_stream(self, job: Job, judge: StreamJudge, began: float, outcome: str) -> None:
        tell(
            "stream",
            slot=self._slot.number,
            kind=job.kind,
            decoded=job.representation.precision is not None,
            began=began,
            ended=time.monotonic(),
            outcome=outcome,
            deliveries=self._slot.deliveries,
            **judge.verdict.as_json(),
        )
        self._slot.end()

    def _tell_call(self, name: str, outcome: str, judge: StreamJudge | None = None) -> None:
        verdict = {} if judge is None else judge.verdict.as_json()
        tell("call", slot=self._slot.number, call=name, outcome=outcome, **verdict)
        self._slot.end()

    def _some_rows(self, job: Job) -> tuple[Views, StreamJudge, Representation]:
        at = job.batches[0][:200]
        judge = StreamJudge(job.known, job.representation, [at])
        return job.known.views(at), judge, job.representation


def _check_resolved(judge: StreamJudge, asked: Views, found: Views, rows: Any) -> None:
    """Everything is stored, so that everything must come back."""
    same = np.array_equal(asked.sample_ids, found.sample_ids)
    if not (same and np.array_equal(asked.seeds, found.seeds) and len(rows) == len(asked)):
        judge.verdict.wrong += len(asked)
        judge.verdict.whose.append("resolve gave other views")


def _outcome(error: Exception) -> str:
    if isinstance(error, LabelcastError):
        return type(error).__name__
    if isinstance(error, BatchesError):
        return "own exception"
    return f"untyped: {type(error).__name__}: {error}"[:300]


class _Synchronous(_Student):
    def run(self) -> None:
        while not self._stopping.is_set():
            job = self._next()
            with LabelClient(self._address, **self._options(job)) as client:
                for _ in range(_JOBS_PER_CLIENT):
                    if not self._stopping.is_set():
                        self._one(client, job)
                        job = self._next()

    def _one(self, client: LabelClient, job: Job) -> None:
        label_set = self._open(client, job)
        if label_set is None:
            time.sleep(_BREATH_SECONDS)
            return
        if self._random.random() < 0.15:
            self._calls(client, label_set, job)
        self._stream(client, label_set, job)

    def _open(self, client: LabelClient, job: Job) -> RemoteLabelSet | None:
        self._slot.begin(f"open {job.known.tag}")
        try:
            label_set = client.open(job.known.tag)
        except Exception as error:  # noqa: BLE001 - reported
            self._tell_call("open", _outcome(error))
            return None
        self._tell_call("open", "complete")
        return label_set

    def _calls(self, client: LabelClient, label_set: RemoteLabelSet, job: Job) -> None:
        views, judge, representation = self._some_rows(job)
        for name in ("labels", "resolve"):
            self._slot.begin(f"{name} {job.known.tag}")
            outcome = "complete"
            try:
                if name == "labels":
                    judge.take(client.labels(label_set, views, representation))
                else:
                    judge = StreamJudge(job.known, representation, [])
                    found, rows = client.resolve(label_set, views, MissingViews.REFUSE)
                    _check_resolved(judge, views, found, rows)
            except Exception as error:  # noqa: BLE001 - reported
                outcome = _outcome(error)
            self._tell_call(name, outcome, judge)

    def _stream(self, client: LabelClient, label_set: RemoteLabelSet, job: Job) -> None:
        judge = StreamJudge(job.known, job.representation, job.batches)
        self._slot.begin(f"stream of {job.kind} from {job.known.tag}")
        began, outcome = time.monotonic(), "complete"
        stream = client.stream(label_set, self._batches(job), job.representation)
        try:
            for number, batch in enumerate(stream):
                self._slot.delivered()
                judge.take(batch)
                if number == job.leave_at:
                    outcome = "left"
                    break
                if number in job.use_pauses:
                    time.sleep(job.pause_seconds)
        except Exception as error:  # noqa: BLE001 - reported
            outcome = _outcome(error)
        with contextlib.closing(_closable(stream)):
            if outcome == "complete":
                judge.ended()
        self._tell_stream(job, judge, began, outcome)

    def _batches(self, job: Job) -> Iterable[Views]:
        return self._listed(job) if job.planned is None else job.planned

    def _listed(self, job: Job) -> Iterator[Views]:
        for item in job.views():
            if isinstance(item, float):
                time.sleep(item)
            else:
                yield item


class _Asynchronous(_Student):
    async def run(self) -> None:
        while not self._stopping.is_set():
            job = self._next()
            async with AsyncLabelClient(self._address, **self._options(job)) as client:
                for _ in range(_JOBS_PER_CLIENT):
                    if not self._stopping.is_set():
                        await self._one(client, job)
                        job = self._next()

    async def _one(self, client: AsyncLabelClient, job: Job) -> None:
        self._slot.begin(f"open {job.known.tag}")
        try:
            label_set = await client.open(job.known.tag)
        except Exception as error:  # noqa: BLE001 - reported
            self._tell_call("open", _outcome(error))
            await asyncio.sleep(_BREATH_SECONDS)
            return
        self._tell_call("open", "complete")
        if self._random.random() < 0.15:
            await self._calls(client, label_set, job)
        await self._stream(client, label_set, job)

    async def _calls(
        self, client: AsyncLabelClient, label_set: AsyncRemoteLabelSet, job: Job
    ) -> None:
        views, judge, representation = self._some_rows(job)
        for name in ("labels", "resolve"):
            self._slot.begin(f"{name} {job.known.tag}")
            outcome = "complete"
            try:
                if name == "labels":
                    judge.take(await client.labels(label_set, views, representation))
                else:
                    judge = StreamJudge(job.known, representation, [])
                    found, rows = await client.resolve(label_set, views, MissingViews.REFUSE)
                    _check_resolved(judge, views, found, rows)
            except Exception as error:  # noqa: BLE001 - reported
                outcome = _outcome(error)
            self._tell_call(name, outcome, judge)

    async def _stream(
        self, client: AsyncLabelClient, label_set: AsyncRemoteLabelSet, job: Job
    ) -> None:
        judge = StreamJudge(job.known, job.representation, job.batches)
        self._slot.begin(f"async stream of {job.kind} from {job.known.tag}")
        began, outcome, number = time.monotonic(), "complete", 0
        stream: AsyncIterator[DeliveredLabels] = client.stream(
            label_set, self._batches(job), job.representation
        )
        try:
            async for batch in stream:
                self._slot.delivered()
                judge.take(batch)
                if number == job.leave_at:
                    outcome = "left"
                    break
                if number in job.use_pauses:
                    await asyncio.sleep(job.pause_seconds)
                number += 1
        except Exception as error:  # noqa: BLE001 - reported
            outcome = _outcome(error)
        async with contextlib.aclosing(_closable(stream)):
            if outcome == "complete":
                judge.ended()
        self._tell_stream(job, judge, began, outcome)

    def _batches(self, job: Job) -> Iterable[Views]:
        if job.planned is not None:
            return job.planned
        # The iterable is read on the event loop: a pause in it would hold up every other stream.
        return (item for item in job.views() if isinstance(item, Views))


def _closable(stream: Any) -> Any:
    return stream


if __name__ == "__main__":
    main()
