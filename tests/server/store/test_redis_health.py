"""Judging INFO: by a real Redis, and by replies that no test can provoke."""

import pytest

from labelcast_server.store.blob_store import Capacity
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.store.open_store import open_store
from labelcast_server.store.redis.health import (
    capacity_from,
    online_replicas,
    persistence_problems_from,
    safety_problems_from,
)
from labelcast_server.store.store import Store
from tests.factories.real_redis import RealRedis

SAFE = {
    "redis_version": "7.0.15",
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "role": "master",
    "loading": 0,
    "aof_last_write_status": "ok",
}


async def test_a_safe_redis_has_no_problems(redis_store: Store) -> None:
    assert await redis_store.blobs.safety_problems() == []


async def test_the_embedded_redis_is_safe_and_bounded(embedded_redis: EmbeddedRedis) -> None:
    store = open_store(embedded_redis.url)
    assert await store.blobs.safety_problems() == []
    assert (await store.blobs.capacity()).bound == "maxmemory"
    await store.close()


@pytest.mark.parametrize(
    ("option", "unsafe", "safe", "words"),
    [
        ("maxmemory-policy", "allkeys-lru", "noeviction", "noeviction"),
        ("appendonly", "no", "yes", "append-only file"),
    ],
)
async def test_a_redis_that_could_forget_says_how(
    redis_server: RealRedis, redis_store: Store, option: str, unsafe: str, safe: str, words: str
) -> None:
    with redis_server.client() as client:
        client.config_set(option, unsafe)
        try:
            (problem,) = await redis_store.blobs.safety_problems()
        finally:
            client.config_set(option, safe)
    assert words in problem
    assert f"CONFIG SET {option} {safe}" in problem


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"redis_version": "5.0.14"}, "5.0.14 is too old"),
        ({"maxmemory_policy": None}, "does not report"),
        ({"role": "slave"}, "replica"),
        ({"cluster_enabled": 1}, "Cluster"),
        ({"loading": 1}, "loading"),
        ({"aof_last_write_status": "err"}, "the append-only file"),
        ({"aof_last_bgrewrite_status": "err"}, "rewrite"),
        ({"rdb_last_bgsave_status": "err"}, "snapshot"),
    ],
)
def test_each_problem_is_one_line(change: dict[str, object], words: str) -> None:
    (problem,) = safety_problems_from(SAFE | change)
    assert words in problem
    assert "\n" not in problem


def test_only_what_keeps_redis_from_its_disk_stops_publishing() -> None:
    assert persistence_problems_from(SAFE | {"aof_enabled": 0, "maxmemory_policy": "x"}) == []


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (
            {"used_memory": 100, "maxmemory": 3200, "total_system_memory": 9},
            Capacity(100, 3000, "maxmemory"),
        ),
        (
            {"used_memory": 100, "maxmemory": 0, "total_system_memory": 8000},
            Capacity(100, 6900, "system memory"),
        ),
        ({"used_memory": 5000, "maxmemory": 3200}, Capacity(5000, 0, "maxmemory")),
        ({"used_memory": 100}, Capacity(100, None, "nothing that Redis reports")),
    ],
)
def test_room_left(info: dict[str, object], expected: Capacity) -> None:
    assert capacity_from(info) == expected


def test_only_replicas_that_follow_count() -> None:
    info = {
        "connected_slaves": 2,
        "slave0": {"ip": "::1", "state": "online"},
        "slave1": {"ip": "::1", "state": "wait_bgsave"},
    }
    assert online_replicas(info) == 1
    assert online_replicas({}) == 0
