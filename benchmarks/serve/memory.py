"""What a large label set and many readers cost the service in memory, and other clients in time."""

import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serve import label_sets
from benchmarks.serve.comparison import Measure
from benchmarks.serve.held import Held, watched
from benchmarks.serve.measures import Published, call_seconds, published, streams_per_second
from benchmarks.serve.reading import CODES, DENSE
from benchmarks.serve.silent_readers import silent_readers
from benchmarks.serve.sizes import Crowd
from labelcast.codec import Codec
from labelcast_glyphs.local_service import local_service

_TAG = "bench:crowd"
_MEBIBYTE = 2**20
_CALLED_VIEWS = 1024
# Streams are opened, and what they asked for is prepared, after a request has been written.
_SETTLING_SECONDS = 5.0


def measure(
    directory: Path, codec: Codec, crowd: Crowd, calls: int, repetitions: int
) -> list[dict[str, Any]]:
    """Both measures, by one service that nobody has used."""
    made = label_sets.coded(directory / "set", codec, samples=crowd.samples, sparse=False)
    most = str(max(512, 2 * crowd.silent))
    with (
        local_service(directory / "service", max_streams=most) as service,
        service.client() as client,
    ):
        large = published(service, client, _TAG, made)
        row = _streams(large, service.pid, crowd)
        return [row, *_silent(large, service.grpc, service.pid, crowd, calls, repetitions)]


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


def _silent(
    large: Published, address: str, service: int, crowd: Crowd, calls: int, repetitions: int
) -> list[dict[str, Any]]:
    views = large.shuffled(_CALLED_VIEWS)

    def p99() -> float:
        blocks = (
            call_seconds(lambda: large.client.labels(large.remote, views, CODES), calls)
            for _ in range(repetitions)
        )
        return 1e6 * statistics.median(float(np.percentile(block, 99)) for block in blocks)

    # What the first dense label costs, such as a codec on its device, is not due to readers.
    large.labels_per_second(views, DENSE)
    alone, before = p99(), Held.by(service)
    with silent_readers(address, _TAG, crowd.silent), watched(service) as peak:
        time.sleep(_SETTLING_SECONDS)
        among = p99()
    grown = peak.held.private - before.private
    return [
        Measure(
            name="memory that readers who never read take",
            unit="MiB",
            reach=64,
            lower_is_better=True,
        ).alone(grown / _MEBIBYTE, readers=crowd.silent),
        Measure(
            name="GetLabels of another client beside readers who never read, p99",
            unit="microseconds",
            reach=2,
            lower_is_better=True,
        ).figures(among, alone, among / alone, readers=crowd.silent),
    ]
