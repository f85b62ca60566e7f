"""Codes asked for by plan: an epoch in a few bytes."""

import time
from typing import Any

import numpy as np

from benchmarks.comparison import Measure, Run
from benchmarks.serve import raw_tcp
from benchmarks.serve.measures import Published
from benchmarks.serve.reading import BATCH, CODES
from labelcast.plans import Plan
from labelcast.wire import MESSAGE_BYTES

BESIDE_FLIGHT = Measure(
    name="codes 8 B by plan beside Arrow Flight", unit="labels/s", reach=12, aim=25
)
BESIDE_TCP = Measure(name="codes 16 B by plan beside raw TCP", unit="bytes/s", reach=0.05, aim=0.1)


def labels_per_second(published: Published, count: int) -> float:
    """Labels a second of one stream, all samples in a plan's order, epoch after epoch."""
    index = published.generated.on_disk.index().segments[0]
    seeds = np.tile(index.seeds, -(-count // published.generated.rows))
    plan = Plan(index.sample_ids, seeds, order_key=6)
    began, rows = time.perf_counter(), 0
    for batch in published.remote.stream(plan.batches(BATCH, stop=count), CODES):
        rows += len(batch.rows)
    assert rows == count
    return count / (time.perf_counter() - began)


def measure(
    narrow: Published, wide: Published, flight: Run, *, count: int, repetitions: int
) -> list[dict[str, Any]]:
    """Both measures.

    Args:
        narrow: label set of 8 bytes a label.
        wide: label set of 16 bytes a label.
        flight: labels a second of Arrow Flight.
        count: labels of a run.
        repetitions: runs.
    """
    row_bytes = wide.remote.code_stride
    with raw_tcp.sender(MESSAGE_BYTES) as receive:
        return [
            BESIDE_FLIGHT.compare(lambda: labels_per_second(narrow, count), flight, repetitions),
            BESIDE_TCP.compare(
                lambda: row_bytes * labels_per_second(wide, count),
                lambda: receive(10 * row_bytes * count),
                repetitions,
            ),
        ]
