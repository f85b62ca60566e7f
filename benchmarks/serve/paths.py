"""Every path that labels take to a trainer, each beside a peer, from one service."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import redis
import torch

from benchmarks.comparison import Measure
from benchmarks.serve import encrypted, label_sets, measures, peers, plans
from benchmarks.serve.label_sets import Generated
from benchmarks.serve.measures import Published, published
from benchmarks.serve.reading import BATCH, CODES, DENSE
from benchmarks.serve.sizes import Sizes
from labelcast.codec import Codec
from labelcast.torch.decoding import load_decoder
from labelcast_glyphs.local_service import local_service
from labelcast_server.store.embedded.process import EmbeddedRedis


def measure(directory: Path, codecs: list[Codec], sizes: Sizes) -> list[dict[str, Any]]:
    """Every measure of one reader, and what the store holds.

    Args:
        directory: for label sets and services.
        codecs: two fitted ones.
        sizes: how much is measured.
    """
    made = _label_sets(directory, codecs, sizes)
    with ExitStack() as stack:
        service = stack.enter_context(local_service(directory / "service"))
        client = stack.enter_context(service.client())
        flight = stack.enter_context(peers.flight_of(directory / "dense.npy"))
        sets = {
            name: published(service, client, f"bench:{name}", generated)
            for name, generated in made.items()
        }
        found = _codes(sets, flight, directory, sizes)
        found += _dense(sets, flight, sizes)
        found += measures.unary(
            sets["near"], service.grpc, calls=sizes.calls, repetitions=sizes.repetitions
        )
        found += encrypted.measure(
            directory / "encrypted",
            sets["near"],
            count=sizes.streamed,
            repetitions=sizes.repetitions,
        )
    return [*found, _memory(directory, list(made.values()))]


def _label_sets(directory: Path, codecs: list[Codec], sizes: Sizes) -> dict[str, Generated]:
    def coded(name: str, codec: Codec, *, sparse: bool = False) -> Generated:
        where = directory / name
        return label_sets.coded(where, codec, samples=sizes.samples, sparse=sparse)

    dense = np.random.default_rng(2).normal(0, 3, (sizes.raw_rows, label_sets.CLASSES))
    np.save(directory / "dense.npy", dense.astype(np.float16))
    del dense
    return {
        "near": coded("near", codecs[0]),
        "far": coded("far", codecs[1], sparse=True),
        "wide": coded("wide", label_sets.random_codec(codes=16)),
        "raw": label_sets.raw(directory / "raw", np.load(directory / "dense.npy", mmap_mode="r")),
    }


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
                lambda: keyed.labels_per_second(order, BATCH),
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
    # Other rows for every stream: the same ones at once would be decoded once.
    quarter = sizes.decoded // 4
    parts = [each[at * quarter :][:quarter] for at in range(4) for each in asked]
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


def _memory(directory: Path, made: list[Generated]) -> dict[str, Any]:
    """What the embedded server, started on its data, holds beyond the labels."""
    # Shards of equal content are kept once.
    shards = {
        shard.data.digest: shard.data.size
        for each in made
        for segment in each.on_disk.manifest.segments
        for shard in segment.codes.shards
    }
    payload = sum(shards.values())
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
