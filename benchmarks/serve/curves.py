"""What the speed depends on: message size, client processes, workers, rows."""

import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparison import Run
from benchmarks.serve import label_sets, plans, raw_tcp
from benchmarks.serve.measures import Published, call_seconds, published
from benchmarks.serve.readers import readers
from benchmarks.serve.reading import BATCH, CODES, labels_per_second
from benchmarks.serve.sizes import Curves
from labelcast import LabelClient, Views
from labelcast.codec import Codec
from labelcast_glyphs.local_service import LocalService, local_service

Point = dict[str, float]
_TAG = "bench:curve"
# Small messages are slow: as many of them as take a second or so.
_MOST_MESSAGES = 2000
_CALLS = 50


def measure(
    directory: Path, codec: Codec, sizes: Curves, repetitions: int
) -> dict[str, list[Point]]:
    """Every curve: its points by name.

    Args:
        directory: for label sets and services.
        codec: of the labels.
        sizes: where curves have points.
        repetitions: of every run; a point has their median.
    """
    with local_service(directory / "service") as service, service.client() as client:
        rows, large = [], None
        for samples in sizes.samples:
            made = label_sets.coded(directory / f"{samples}", codec, samples=samples, sparse=False)
            large = published(service, client, f"{_TAG}-{samples}", made)
            rows.append(_rows(large, sizes, repetitions))
        assert large is not None
        found = {
            "message": [
                _message(service, large, size, sizes, repetitions) for size in sizes.message_rows
            ],
            "processes": [
                {"client processes": count}
                | _together(service, large.remote.digest, count, sizes, repetitions)
                for count in sizes.processes
            ],
            "rows": rows,
        }
    made = label_sets.coded(directory / "few", codec, samples=sizes.samples[0], sparse=False)
    workers = []
    for count in sizes.workers:
        where = directory / f"workers-{count}"
        with local_service(where, workers=str(count)) as service, service.client() as client:
            digest = published(service, client, _TAG, made).remote.digest
            speeds = _together(service, digest, sizes.readers, sizes, repetitions)
            workers.append({"workers": count, "client processes": sizes.readers} | speeds)
    return found | {"workers": workers}


def _rows(made: Published, sizes: Curves, repetitions: int) -> Point:
    index, rng = made.generated.on_disk.index().segments[0], np.random.default_rng(8)
    ids, seeds = index.sample_ids, index.seeds
    anywhere = Views(rng.choice(ids, sizes.codes), rng.choice(seeds, sizes.codes))
    epochs = made.shuffled(sizes.codes)
    return {"rows": made.generated.rows} | _medians(
        {
            "listed, a seed after the other, labels/s": lambda: made.labels_per_second(
                epochs, CODES
            ),
            "listed, random views, labels/s": lambda: made.labels_per_second(anywhere, CODES),
            "by plan, labels/s": lambda: plans.labels_per_second(made, sizes.codes),
        },
        repetitions,
    )


def _message(
    service: LocalService, made: Published, rows: int, sizes: Curves, repetitions: int
) -> Point:
    stride = made.remote.code_stride
    views = made.shuffled(max(rows, min(sizes.codes, rows * _MOST_MESSAGES)))
    called, batch = made.shuffled(min(rows, BATCH * 8)), min(rows, BATCH)
    # The window admits two requests, and a message answers one.
    with (
        service.client(rows_in_flight=2 * rows) as client,
        raw_tcp.sender(rows * stride) as receive,
    ):
        opened = client.open(made.remote.digest)

        def call() -> float:
            taken = call_seconds(lambda: client.labels(opened, called, CODES), _CALLS)
            return len(called) / float(np.median(taken))

        wire = _wire_bytes(client, lambda: labels_per_second(client, opened, views, CODES, batch))
        speeds = _medians(
            {
                "stream, labels/s": lambda: labels_per_second(client, opened, views, CODES, batch),
                "a call each, labels/s": call,
                "raw TCP, labels/s": lambda: receive(stride * len(views)) / stride,
            },
            repetitions,
        )
    return (
        {"labels a message": rows, "their bytes": rows * stride}
        | speeds
        | {"wire B a label": wire / len(views)}
    )


def _together(
    service: LocalService, digest: str, processes: int, sizes: Curves, repetitions: int
) -> Point:
    speeds: Point = {}
    for form, count in (("codes", sizes.codes), ("dense", sizes.dense)):
        with readers(service.grpc, digest, form, processes, count) as read:
            speeds |= _medians({f"{form}, labels/s": read}, repetitions)
    return speeds


def _medians(runs: Mapping[str, Run], repetitions: int) -> Point:
    """Runs in turns, after one of each that does not count."""
    for run in runs.values():
        run()
    turns = [{name: run() for name, run in runs.items()} for _ in range(repetitions)]
    return {name: statistics.median(turn[name] for turn in turns) for name in runs}


def _wire_bytes(client: LabelClient, read: Callable[[], Any]) -> int:
    before = client.wire_bytes.total
    read()
    return client.wire_bytes.total - before
