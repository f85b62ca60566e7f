"""How fast labels reach a client, and what they cost in Redis, beside the obvious other layouts.

    python -m benchmarks.serving --label-set demo-out/label-set

Everything runs on this machine over loopback, in one run: the service as processes of its own, and
the peers against a Redis of their own. Labels are asked for in random order, in batches. Figures
are medians over the repetitions; read them as ratios.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from labelcast import LabelClient, Precision, RemoteLabelSet, Representation, Views
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_glyphs.local_service import local_service
from labelcast_server.store.embedded.process import EmbeddedRedis

RESULT = Path(__file__).parent / "results" / "serving.json"
TAG = "bench:serving"
Measurement = Callable[[], float]


def main() -> None:
    """Run every measurement and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--label-set", type=Path, default=Path("demo-out/label-set"))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    on_disk = LabelSetDirectory(options.label_set)
    views = on_disk.index().segments[0].views()
    order = np.random.default_rng(0).permutation(len(views))
    shuffled = views[order]
    rows = on_disk.gather(views)
    with tempfile.TemporaryDirectory() as directory:
        with local_service(Path(directory) / "service") as service:
            with service.registry() as registry:
                registry.push(on_disk, TAG)
            measured = _service(service.grpc, shuffled, options)
        with EmbeddedRedis(Path(directory) / "peer") as peer:
            measured |= _peers(peer.url, rows, order, options)
    result = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "labels": len(views),
        "payload_bytes": int(rows.shape[1]),
        "num_classes": on_disk.manifest.contract.num_classes,
        "batch": options.batch,
        "repetitions": options.repetitions,
        "paths": measured,
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.stdout.write(json.dumps(result, indent=2) + "\n")


def _service(address: str, views: Views, options: argparse.Namespace) -> dict[str, Any]:
    with LabelClient(address) as client:
        label_set = client.open(TAG)
        decoder = label_set.decoder()
        dense = Representation.logits(Precision.FP16)
        few = views[: min(len(views), 30_000)]

        def streamed(wanted: Views, form: Representation, *, decode: bool = False) -> float:
            began = time.perf_counter()
            for batch in client.stream(label_set, wanted.batches(options.batch), form):
                if decode:
                    decoder.decode(batch.rows, batch.views)
            return len(wanted) / (time.perf_counter() - began)

        def one_by_one(wanted: Views) -> float:
            began = time.perf_counter()
            for batch in wanted.batches(1):
                client.labels(label_set, batch, Representation.codes())
            return len(wanted) / (time.perf_counter() - began)

        codes = Representation.codes()
        paths: dict[str, Measurement] = {
            "stream of codes": lambda: streamed(views, codes),
            "stream of codes, decoded by the client (numpy)": lambda: streamed(
                few, codes, decode=True
            ),
            "stream of fp16 logits, decoded by the service (CPU)": lambda: streamed(few, dense),
            "one unary call a label (codes)": lambda: one_by_one(views[:2000]),
        }
        return {
            name: _figures(measure, options) | _wire_bytes(client, label_set, name, views)
            for name, measure in paths.items()
        }


def _wire_bytes(
    client: LabelClient, label_set: RemoteLabelSet, name: str, views: Views
) -> dict[str, float]:
    few, dense = views[:8192], "fp16" in name
    form = Representation.logits() if dense else Representation.codes()
    before = client.wire_bytes.total
    if "unary" in name:
        few = few[:256]
        for batch in few.batches(1):
            client.labels(label_set, batch, form)
    else:
        for _ in client.stream(label_set, few.batches(1024), form):
            pass
    return {"wire_bytes_per_label": (client.wire_bytes.total - before) / len(few)}


def _peers(
    url: str, rows: NDArray[np.uint8], order: NDArray[np.int64], options: argparse.Namespace
) -> dict[str, Any]:
    connection = redis.Redis.from_url(url)
    stride = rows.shape[1]
    keys = [b"label:%d" % number for number in range(len(rows))]
    used = _used_memory(connection)
    for start in range(0, len(rows), 10_000):
        block = range(start, min(start + 10_000, len(rows)))
        connection.mset({keys[at]: rows[at].tobytes() for at in block})
    key_each = (_used_memory(connection) - used) / len(rows)
    connection.set("packed", rows.tobytes())
    packed: Any = connection.memory_usage("packed", samples=0)
    batches = [order[at : at + options.batch] for at in range(0, len(order), options.batch)]

    def key_per_label() -> float:
        began = time.perf_counter()
        for batch in batches:
            values: Any = connection.mget([keys[at] for at in batch])
            np.frombuffer(b"".join(values), dtype=np.uint8)
        return len(rows) / (time.perf_counter() - began)

    def ranges() -> float:
        few = batches[: max(1, len(batches) // 8)]
        began = time.perf_counter()
        for batch in few:
            pipeline = connection.pipeline(transaction=False)
            for at in batch.tolist():
                pipeline.getrange("packed", at * stride, (at + 1) * stride - 1)
            np.frombuffer(b"".join(pipeline.execute()), dtype=np.uint8)
        return sum(map(len, few)) / (time.perf_counter() - began)

    def gather() -> float:
        began = time.perf_counter()
        for batch in batches:
            rows[batch]
        return len(rows) / (time.perf_counter() - began)

    figures = {
        "peer: Redis, a key per label, MGET": _figures(key_per_label, options)
        | {"redis_bytes_per_label": key_each},
        "peer: Redis, packed string, GETRANGE": _figures(ranges, options)
        | {"redis_bytes_per_label": packed / len(rows)},
        "bound: numpy gather in the process": _figures(gather, options),
    }
    connection.close()
    return figures


def _used_memory(connection: "redis.Redis") -> int:
    return int(connection.info("memory")["used_memory"])


def _figures(measure: Measurement, options: argparse.Namespace) -> dict[str, Any]:
    measure()
    runs = [measure() for _ in range(options.repetitions)]
    return {
        "labels_per_second": statistics.median(runs),
        "slowest": min(runs),
        "fastest": max(runs),
    }


if __name__ == "__main__":
    main()
