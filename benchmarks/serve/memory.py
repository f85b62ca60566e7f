"""What a large label set and many readers cost the service in memory, and other clients in time."""

import statistics
import time
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison import Measure
from benchmarks.serve import label_sets
from benchmarks.serve.bare_streams import bare_streams
from benchmarks.serve.held import Held, watched
from benchmarks.serve.measures import Published, call_seconds, published, streams_per_second
from benchmarks.serve.reading import CODES, DENSE
from benchmarks.serve.silent_readers import silent_readers
from benchmarks.serve.sizes import Crowd
from labelcast.codec import Codec
from labelcast_glyphs.local_service import LocalService, local_service

_TAG = "bench:crowd"
_MEBIBYTE = 2**20
_CALLED_VIEWS = 1024
# Streams are opened, and what they asked for is prepared, after a request has been written.
_SETTLING_SECONDS = 5.0
# As small as messages of ours get in a crowd.
_BARE_MESSAGE_BYTES = 2**12


def measure(
    directory: Path, codec: Codec, crowd: Crowd, calls: int, repetitions: int
) -> list[dict[str, Any]]:
    """What streams hold, and what silent readers take and cost.

    Each repetition with silent readers has a service that was just started: what an allocator keeps
    of an earlier crowd would hide what the next one takes.
    """
    made = label_sets.coded(directory / "set", codec, samples=crowd.samples, sparse=False)
    most = str(max(512, 2 * crowd.silent))

    def fresh() -> AbstractContextManager[LocalService]:
        return local_service(directory / "service", max_streams=most)

    with fresh() as service, service.client() as client:
        row = _streams(published(service, client, _TAG, made), service.pid, crowd)
    silent = []
    for _ in range(repetitions):
        with fresh() as service, service.client() as client:
            opened = Published(made, client.open(_TAG), client)
            silent.append(_among_silent(opened, service, crowd.silent, calls))
    grown = [taken for taken, _, _ in silent]
    return [
        row,
        Measure(
            name="memory that readers who never read take",
            unit="MiB",
            reach=64,
            lower_is_better=True,
        ).alone(
            statistics.median(grown),
            readers=crowd.silent,
            spread=[min(grown), max(grown)],
            of_bare_grpc=statistics.median(bare for _, bare, _ in silent),
        ),
        Measure(
            name="GetLabels of another client beside readers who never read, p99",
            unit="microseconds",
            reach=2,
            lower_is_better=True,
        ).of_turns([calls_taken for *_, calls_taken in silent])
        | {"readers": crowd.silent},
    ]


def _streams(large: Published, service: int, crowd: Crowd) -> dict[str, Any]:
    views = large.shuffled(crowd.streams * crowd.streamed)
    # The first stream fills the cache: all rows are on disk before the others come.
    large.labels_per_second(views, CODES)
    with watched(service) as peak:
        streams_per_second([large], [views[: crowd.streamed]], crowd.streams, CODES)
    return Measure(
        name="private memory of all processes but the store, large set, many streams",
        unit="MiB",
        reach=500,
        aim=400,
        lower_is_better=True,
    ).alone(
        peak.held.private / _MEBIBYTE,
        rows=large.generated.rows,
        streams=crowd.streams,
        held_bytes=asdict(peak.held),
    )


def _among_silent(
    opened: Published, service: LocalService, silent: int, calls: int
) -> tuple[float, float, tuple[float, float]]:
    """MiB that silent readers take here, and of gRPC alone; microseconds of a call among them.

    Those are p99, among silent readers and before they came.
    """
    views = opened.shuffled(_CALLED_VIEWS)

    def p99() -> float:
        taken = call_seconds(lambda: opened.client.labels(opened.remote, views, CODES), calls)
        return 1e6 * float(np.percentile(taken, 99))

    # What the first dense label costs, such as a codec on its device, is not due to readers.
    opened.labels_per_second(views, DENSE)
    alone, before = p99(), Held.by(service.pid).private
    with silent_readers(service.grpc, _TAG, silent), watched(service.pid) as peak:
        time.sleep(_SETTLING_SECONDS)
        among = p99()
    taken = peak.held.private - before
    with bare_streams(_BARE_MESSAGE_BYTES) as (address, pid):
        before = Held.by(pid).private
        with silent_readers(service.grpc, _TAG, silent, of_another=address), watched(pid) as peak:
            time.sleep(_SETTLING_SECONDS)
    return taken / _MEBIBYTE, (peak.held.private - before) / _MEBIBYTE, (among, alone)
