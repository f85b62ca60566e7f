"""What a service has read once it reads no more, not even after a restart."""

from pathlib import Path

import numpy as np
import pytest

from labelcast import Representation
from labelcast_server.store.redis import keys
from labelcast_server.store.redis.entries import blob_from
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, running_service

pytestmark = pytest.mark.e2e

CODES = Representation.codes()


def read_all(service: RunningService, known: KnownLabelSet, *, times: int) -> None:
    everything = np.random.default_rng(times).permutation(len(known.rows))
    for _ in range(times):
        # Each client has a connection of its own, and some come to each of the workers.
        with service.client() as client:
            labels = client.labels(client.open("mine:v1"), known.views[everything], CODES)
            known.check(labels, everything, CODES)


def remove_rows(service: RunningService, known: KnownLabelSet) -> int:
    """Delete codes, tables and their indexes behind the service's back; how many chunks."""
    segment = known.on_disk.manifest.segments[0]
    refs = {ref.digest for section in segment.sections().values() for ref in section.blobs()}
    with service.raw_redis() as redis:
        blobs = [blob_from(digest, redis.hget(keys.BLOBS, digest)) for digest in refs]
        chunks = [
            keys.chunk_key(blob.data_id, number)
            for blob in blobs
            for number in range(blob.info.chunk_count)
        ]
        return int(redis.delete(*chunks))


def test_after_a_restart_no_chunk_is_read_from_the_store(tmp_path: Path) -> None:
    known = known_label_set(
        tmp_path / "set", "raw", num_samples=20_000, num_seeds=1, shard_bytes=2**18
    )
    shards = known.on_disk.manifest.segments[0].codes.shards
    with running_service(tmp_path, "--workers", "2") as service:
        service.push(known.on_disk, "mine:v1")
        read_all(service, known, times=1)
        assert service.stop() == 0
        (kept,) = (service.data_dir / "cache").iterdir()
        # And those of sample IDs and seeds.
        assert len(list(kept.glob("sha256-" + "?" * 64))) == len(shards) + 2
        service.start()
        assert remove_rows(service, known) > 2 * len(shards)
        read_all(service, known, times=6)
    assert "damaged" not in service.log()


def test_a_small_cache_is_enough_for_right_labels(tmp_path: Path) -> None:
    known = known_label_set(
        tmp_path / "set", "raw", num_samples=20_000, num_seeds=1, shard_bytes=2**18
    )
    assert known.rows.nbytes > 2**20
    with running_service(tmp_path, environment={"LABELCAST_CACHE_MIB": "1"}) as service:
        service.push(known.on_disk, "mine:v1")
        read_all(service, known, times=2)
        (kept,) = (service.data_dir / "cache").iterdir()
        assert 0 < sum(path.stat().st_size for path in kept.iterdir()) <= 2**20
    assert service.log().count("raise LABELCAST_CACHE_MIB") == 1
