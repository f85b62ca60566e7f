"""Every measure of the data plane: what is ours, what is the peer's, and what is to be reached."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from benchmarks.serve.comparison import Measure
from benchmarks.serve.label_sets import Generated
from labelcast import LabelClient, Precision, RemoteLabelSet, Representation, Views

CODES = Representation.codes()
DENSE = Representation.logits(Precision.FP16)
BATCH = 1024


@dataclass(frozen=True)
class Published:
    """A label set that the service serves.

    Attributes:
        generated: as it was made.
        remote: as the client sees it.
        client: that opened it.
    """

    generated: Generated
    remote: RemoteLabelSet
    client: LabelClient

    def shuffled(self, count: int) -> Views:
        """Views as trainers ask: all samples in random order under one seed, then the next."""
        index, rng = self.generated.on_disk.index().segments[0], np.random.default_rng(3)
        ids, seeds = index.sample_ids, index.seeds
        epochs = -(-count // len(ids))
        order = [ids[rng.permutation(len(ids))] for _ in range(epochs)]
        under = np.repeat(seeds[np.arange(epochs) % len(seeds)], len(ids))
        return Views(np.concatenate(order)[:count], under[:count])

    def labels_per_second(self, views: Views, form: Representation) -> float:
        """Labels a second of one stream."""
        began, count = time.perf_counter(), 0
        for batch in self.client.stream(self.remote, views.batches(BATCH), form):
            count += len(batch.rows)
        assert count == len(views)
        return count / (time.perf_counter() - began)


def streams_per_second(
    sets: list[Published], views: list[Views], streams: int, form: Representation = DENSE
) -> float:
    """Labels a second of several streams, the sets in turn."""
    failures = list[BaseException]()

    def read(number: int) -> None:
        try:
            at = number % len(sets)
            sets[at].labels_per_second(views[at], form)
        except BaseException as error:  # noqa: BLE001 - raised again by the one who waits
            failures.append(error)

    began = time.perf_counter()
    threads = [threading.Thread(target=read, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    total = sum(len(views[number % len(sets)]) for number in range(streams))
    return total / (time.perf_counter() - began)


def call_seconds(call: Callable[[], object], count: int) -> NDArray[np.float64]:
    """Seconds of each of some calls."""
    taken = np.empty(count)
    for at in range(count):
        began = time.perf_counter()
        call()
        taken[at] = time.perf_counter() - began
    return taken


def unary(
    published: Published, address: str, *, calls: int, repetitions: int
) -> list[dict[str, Any]]:
    """`GetLabels` of 1,024 random views beside a call that asks and says nothing."""
    views = published.shuffled(BATCH)
    with grpc.insecure_channel(address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        empty = health_pb2.HealthCheckRequest()

        def ours() -> object:
            return published.client.labels(published.remote, views, CODES)

        def peer() -> object:
            return health.Check(empty)

        call_seconds(ours, 100), call_seconds(peer, 100)
        turns = [(call_seconds(ours, calls), call_seconds(peer, calls)) for _ in range(repetitions)]
    rows = []
    for quantile, reach, aim in ((50, 1.5, 1.3), (99, 2.0, 1.5)):
        measure = Measure(
            name=f"GetLabels of 1,024 random views beside an empty call, p{quantile}",
            unit="microseconds",
            reach=reach,
            aim=aim,
            lower_is_better=True,
        )
        taken = [
            (1e6 * float(np.percentile(own, quantile)), 1e6 * float(np.percentile(other, quantile)))
            for own, other in turns
        ]
        rows.append(measure.of_turns(taken))
    return rows


UNRUN = [
    (Measure(name="the codes path with TLS", unit="labels/s", reach=0.6, aim=0.8), "TLS"),
]
"""Measures of what does not exist yet, and what that is."""
