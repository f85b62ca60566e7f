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

from benchmarks.comparison import Measure
from benchmarks.serve.label_sets import Generated
from benchmarks.serve.reading import BATCH, CODES, DENSE, labels_per_second, shuffled
from labelcast import LabelClient, RemoteLabelSet, Representation, Views
from labelcast_glyphs.local_service import LocalService


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
        """Views as trainers ask."""
        return shuffled(self.generated.on_disk.index().segments[0], count)

    def labels_per_second(self, views: Views, form: Representation) -> float:
        """Labels a second of one stream."""
        return labels_per_second(self.client, self.remote, views, form)


def published(
    service: LocalService, client: LabelClient, tag: str, generated: Generated
) -> Published:
    """Push a label set, and open it."""
    with service.registry() as registry:
        registry.push(generated.on_disk, tag)
    return Published(generated, client.open(tag), client)


def streams_per_second(
    sets: list[Published], views: list[Views], streams: int, form: Representation = DENSE
) -> float:
    """Labels a second of several streams, the sets in turn, and the views in turn."""
    failures = list[BaseException]()

    def read(number: int) -> None:
        try:
            sets[number % len(sets)].labels_per_second(views[number % len(views)], form)
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
    total = sum(len(views[number % len(views)]) for number in range(streams))
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
