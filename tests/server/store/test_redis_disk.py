"""A given Redis whose disk is full: its log says why, and room helps."""

import time
from pathlib import Path

import pytest
from redis import Redis

from labelcast.errors import StoreFullError
from labelcast_server.store.open_store import open_store
from labelcast_server.store.redis.health import persistence_problems_from
from tests.factories.real_redis import running_redis
from tests.factories.tiny_disk import tiny_disk
from tests.server.store.blobs import content_of, push

# Without syncing each write: a Redis that cannot append then ends instead of refusing.
OPTIONS = ("--appendonly", "no", "--save", "3600 1000000", "--stop-writes-on-bgsave-error", "yes")


def take_a_snapshot(client: Redis) -> None:
    """Try to, to the end."""
    client.bgsave()
    while client.info("persistence")["rdb_bgsave_in_progress"]:
        time.sleep(0.05)


def problems(client: Redis) -> list[str]:
    return persistence_problems_from(client.info())


async def test_a_full_disk_is_explained_in_the_log_and_mended_by_room(tmp_path: Path) -> None:
    log = tmp_path / "redis.log"
    with (
        tiny_disk(tmp_path / "disk", 4) as disk,
        running_redis(disk.path, *OPTIONS, "--logfile", str(log)) as redis,
        redis.client() as client,
    ):
        store = open_store(redis.url)
        kept = await push(store.blobs, bytes(range(256)) * 1000)
        assert problems(client) == []
        disk.fill()
        take_a_snapshot(client)
        (problem,) = problems(client)
        assert "failed to write a snapshot; free disk space and memory, look at its log" in problem
        told = "cannot write to its disk; free disk space and look at its log"
        with pytest.raises(StoreFullError, match=told):
            await push(store.blobs, b"more")
        assert "No space left on device" in log.read_text()
        disk.free()
        take_a_snapshot(client)
        assert problems(client) == []
        await push(store.blobs, b"more")
        assert await content_of(store.blobs, kept) == bytes(range(256)) * 1000
        await store.close()
