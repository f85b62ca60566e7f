"""Parts of a running service die: streams go on by themselves, and no label is wrong."""

from pathlib import Path

import numpy as np
import psutil
import pytest

from labelcast import LabelClient, Representation
from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DataError,
    DigestMismatchError,
    LabelcastError,
    StoreUnavailableError,
)
from labelcast.remote.pulling import pull
from labelcast_server.rpc.probe import is_serving
from tests.e2e.accidents import read_with_an_accident
from tests.e2e.label_sets import KnownLabelSet, identity_label_set, known_label_set
from tests.e2e.running_service import RunningService, eventually

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()


def end(process: psutil.Process) -> None:
    process.kill()
    process.wait(100)


@pytest.mark.parametrize("rows_in_flight", [300, 16_384])
def test_stream_survives_its_decoder(
    fragile: RunningService, dense: KnownLabelSet, rows_in_flight: int
) -> None:
    decoder = fragile.processes().decoder
    with fragile.client(rows_in_flight=rows_in_flight) as client:
        read_with_an_accident(client, dense, "dense", LOGITS, lambda: end(decoder))
    assert fragile.processes().decoder.pid != decoder.pid


def test_stream_survives_its_worker(fragile: RunningService, dense: KnownLabelSet) -> None:
    (worker,) = fragile.processes().workers
    with fragile.client(rows_in_flight=300) as client:
        read_with_an_accident(client, dense, "dense", LOGITS, lambda: end(worker))
    (successor,) = fragile.processes().workers
    assert successor.pid != worker.pid


async def test_async_stream_survives_its_worker(
    fragile: RunningService, dense: KnownLabelSet
) -> None:
    (worker,) = fragile.processes().workers
    at, done = np.random.default_rng(8).permutation(len(dense.views)), 0
    async with fragile.async_client(rows_in_flight=300) as client:
        label_set = await client.open("dense")
        async for batch in client.stream(label_set, dense.views[at].batches(50), LOGITS):
            dense.check(batch, at[done : done + len(batch.rows)], LOGITS)
            done += len(batch.rows)
            if done == 2000:
                worker.kill()
    assert done == len(at)


def test_admin_process_comes_back(fragile: RunningService) -> None:
    admin = fragile.processes().admin
    admin.kill()
    eventually(fragile.admin_answers, "the admin API answers again")


def test_without_redis_cached_codes_go_on(fragile: RunningService, tmp_path: Path) -> None:
    cached, cold = identity_label_set(tmp_path / "a", 1), identity_label_set(tmp_path / "b", 2)
    fragile.push(cached.on_disk, "cached")
    fragile.push(cold.on_disk, "cold")
    processes = fragile.processes()
    assert processes.redis is not None
    at = np.random.default_rng(9).permutation(len(cached.views))
    with fragile.client(rows_in_flight=200, reconnect_seconds=0.5) as client:
        label_set, cold_set = client.open("cached"), client.open("cold")
        client.labels(label_set, cached.views, CODES)
        stream = client.stream(label_set, cached.views[at].batches(100), CODES)
        cached.check(next(stream), at[:100], CODES)

        # As long as the supervisor sleeps, nobody starts Redis again.
        processes.supervisor.suspend()
        processes.redis.kill()
        try:
            done = 100
            for batch in stream:
                cached.check(batch, at[done : done + len(batch.rows)], CODES)
                done += len(batch.rows)
            assert done == len(at)
            with pytest.raises(StoreUnavailableError, match="Redis at"):
                list(client.stream(cold_set, [cold.views], CODES))
            with pytest.raises(StoreUnavailableError, match="Redis at"):
                client.labels(cold_set, cold.views[:5], CODES)
            with pytest.raises(StoreUnavailableError, match="Redis at"):
                client.open("cold")
            eventually(
                lambda: not is_serving(fragile.grpc, timeout_seconds=5),
                "it is unhealthy",
            )
        finally:
            processes.supervisor.resume()
    # The supervisor has started Redis again, with everything that was acknowledged.
    with fragile.client() as client:
        for batch in client.stream(cold_set, cold.views.batches(500), CODES):
            assert (batch.rows[:, :2] == cold.rows[0, :2]).all()
        cold.check(client.labels(cold_set, cold.views, LOGITS), np.arange(len(cold.views)), LOGITS)
    eventually(lambda: is_serving(fragile.grpc, timeout_seconds=5), "it is healthy")


def test_dead_redis_is_waited_for(fragile: RunningService, dense: KnownLabelSet) -> None:
    """With patience, a stream of uncached labels outlives its Redis."""
    (worker,), redis = fragile.processes().workers, fragile.processes().redis
    worker.kill()
    assert redis is not None
    redis.kill()
    at = np.arange(1000)
    with fragile.client() as client:
        eventually(lambda: _opens(client, "dense"), "the service has recovered")
        (batch,) = client.stream(client.open("dense"), [dense.views[at]], CODES)
        dense.check(batch, at, CODES)


def _opens(client: LabelClient, tag: str) -> bool:
    try:
        client.open(tag)
    except LabelcastError:
        return False
    return True


DAMAGES = {
    "flip": "is damaged where it is stored",
    "cut": r"is damaged in the store: it has \d+ bytes, not \d+",
    "drop": "is gone from the store",
}
PULLED = "damaged, as two fetches agree; push the label set there again, then pull"


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_chunk_is_never_a_label(
    fragile: RunningService, tmp_path: Path, damage: str
) -> None:
    # Rows of its own, lest another label set have brought the same shard into the cache.
    number = 10 + list(DAMAGES).index(damage)
    known = identity_label_set(tmp_path, number, num_samples=2000)
    fragile.push(known.on_disk, damage)
    codes = known.on_disk.manifest.segments[0].codes
    chunk = known.rows.tobytes()[: codes.chunk_bytes]
    inside, outside = known.views[: codes.rows_per_chunk], known.views[codes.rows_per_chunk :]
    with fragile.raw_redis() as redis, fragile.client() as client:
        key = next(k for k in redis.scan_iter("labelcast:{*:*}:*") if redis.get(k) == chunk)
        match damage:
            case "flip":
                redis.setrange(key, 77, bytes([chunk[77] ^ 1]))
            case "cut":
                redis.set(key, chunk[:-6])
            case "drop":
                redis.delete(key)
        label_set = client.open(damage)
        wanted = BlobNotFoundError if damage == "drop" else ChecksumMismatchError
        says = f"{DAMAGES[damage]}; push the label set again"
        for representation in (CODES, LOGITS, Representation.top_k(1, 1.0)):
            with pytest.raises(wanted, match=says):
                client.labels(label_set, inside[:3], representation)
            with pytest.raises(wanted, match=says):
                list(client.stream(label_set, [outside[:10], inside[-1:]], representation))
        at = np.arange(len(inside), len(known.views))
        known.check(client.labels(label_set, outside, LOGITS), at, LOGITS)
        refused = DigestMismatchError if damage == "flip" else wanted
        with pytest.raises(refused, match=PULLED if damage == "flip" else says):
            pull(client, damage, tmp_path / "pulled")
        # What all of these errors say to do.
        fragile.push(known.on_disk, damage)
        assert pull(client, damage, tmp_path / "pulled").digest == known.on_disk.digest
        known.check(client.labels(label_set, inside, CODES), np.arange(len(inside)), CODES)


def test_damaged_manifest_and_codec_are_refused(fragile: RunningService, tmp_path: Path) -> None:
    known = known_label_set(tmp_path, "vqae", num_samples=20, num_seeds=2, seed=5)
    digest = fragile.push(known.on_disk, "damaged")
    artifact = known.on_disk.read_blob(known.on_disk.manifest.codec)
    with fragile.raw_redis() as redis, fragile.client() as client:
        key = next(k for k in redis.scan_iter("labelcast:{*:*}:*") if redis.get(k) == artifact)
        redis.setrange(key, 900, bytes([artifact[900] ^ 1]))
        with pytest.raises(DigestMismatchError):
            client.open("damaged")
        redis.set(key, artifact)
        record = f"labelcast:{{labelcast}}:label-set:{digest}"
        manifest = known.on_disk.manifest.to_bytes()
        redis.hset(record, "manifest", manifest.replace(b"a teacher of", b"a Teacher of"))
        with pytest.raises(DataError):
            client.open("damaged")
        redis.hset(record, "manifest", manifest)
        at = np.arange(len(known.views))
        known.check(client.labels(client.open("damaged"), known.views, LOGITS), at, LOGITS)


def test_a_killed_part_is_named_in_the_log(fragile: RunningService) -> None:
    (worker,), told = fragile.processes().workers, fragile.log().count("io-worker-0 ended")
    worker.kill()
    eventually(lambda: fragile.log().count("io-worker-0 ended") > told, "the log says who ended")
    eventually(lambda: len(fragile.processes().workers) == 1, "another worker listens")
