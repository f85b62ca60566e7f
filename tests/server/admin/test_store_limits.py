"""Pushes into a Redis that is full, unsafe or gone."""

from pathlib import Path

import pytest

from labelcast.errors import StoreFullError, StoreUnavailableError, StoreUnsafeError
from labelcast.registry.client import Registry
from tests.factories.label_sets import make_label_set
from tests.factories.real_redis import RealRedis, running_redis
from tests.server.admin.running_admin import RunningAdmin, running_admin


@pytest.fixture
def own_redis(tmp_path: Path) -> Path:
    directory = tmp_path / "redis"
    directory.mkdir()
    return directory


def test_memory_that_runs_out_during_a_push(
    admin: RunningAdmin, registry: Registry, redis_server: RealRedis, tmp_path: Path
) -> None:
    small, _ = make_label_set(tmp_path / "small", num_samples=4, num_classes=500, seed=1)
    registry.push(small, "glyphs:v1")
    label_set, _ = make_label_set(
        tmp_path / "large", num_samples=10_000, num_seeds=2, num_classes=500, shard_bytes=9 * 2**20
    )

    def shrink(done: int, total: int) -> None:
        with redis_server.client() as client:
            if 0 < done < total and client.config_get("maxmemory")["maxmemory"] == "0":
                client.config_set("maxmemory", client.info("memory")["used_memory"] + 2**20)

    try:
        with pytest.raises(StoreFullError):
            registry.push(label_set, "glyphs:v1", progress=shrink)
        # Nothing is half there: the old set is served on, and what was received is dropped.
        (summary,) = registry.list()
        assert (summary.digest, summary.tags) == (small.digest, ("glyphs:v1",))
        with redis_server.client() as client:
            assert client.hlen("labelcast:uploads") == 0
        with pytest.raises(StoreFullError, match="more memory"):
            registry.push(label_set, "glyphs:v1")
    finally:
        with redis_server.client() as client:
            client.config_set("maxmemory", 0)
    result = registry.push(label_set, "glyphs:v1")
    assert 0 < result.uploaded_blobs < len(label_set.manifest.blobs())
    assert registry.inspect("glyphs:v1").manifest == label_set.manifest


def test_a_redis_that_could_forget_is_refused_unless_allowed(
    tmp_path: Path, own_redis: Path
) -> None:
    label_set, _ = make_label_set(tmp_path / "label-set", num_samples=4)
    with running_redis(own_redis, "--appendonly", "no") as redis:
        with running_admin(redis.url) as admin, admin.registry() as registry:
            with pytest.raises(StoreUnsafeError, match="append-only"):
                registry.push(label_set, "glyphs:v1")
            assert registry.list() == []
        allowing = running_admin(redis.url, allow_unsafe_store=True)
        with allowing as admin, admin.registry() as registry:
            registry.push(label_set, "glyphs:v1")
        # The safety is looked at again before a tag moves.
        with running_admin(redis.url) as admin, admin.registry() as registry:
            with pytest.raises(StoreUnsafeError):
                registry.tag("glyphs:v2", label_set.digest)
            assert registry.inspect("glyphs:v1").summary.tags == ("glyphs:v1",)


def test_a_push_goes_on_after_redis_was_restarted(tmp_path: Path, own_redis: Path) -> None:
    label_set, _ = make_label_set(
        tmp_path / "label-set", num_samples=9000, num_classes=500, num_seeds=1
    )
    restarts: list[int] = []

    def restart(done: int, total: int) -> None:
        if 0 < done < total and not restarts and done > 4 * 2**20:
            restarts.append(done)
            redis.kill()
            redis.start()

    with (
        running_redis(own_redis) as redis,
        running_admin(redis.url) as admin,
        admin.registry() as registry,
    ):
        registry.push(label_set, "glyphs:v1", progress=restart)
        assert len(restarts) == 1
        assert registry.inspect("glyphs:v1").manifest == label_set.manifest


def test_a_push_fails_while_redis_is_gone_and_completes_later(
    tmp_path: Path, own_redis: Path
) -> None:
    label_set, _ = make_label_set(tmp_path / "label-set", "vqae", num_samples=50)

    def kill(done: int, _: int) -> None:
        if done > label_set.manifest.codec.size and redis.process.poll() is None:
            redis.kill()

    with (
        running_redis(own_redis) as redis,
        running_admin(redis.url) as admin,
        admin.registry(patience_seconds=0) as registry,
    ):
        with pytest.raises(StoreUnavailableError):
            registry.push(label_set, "glyphs:v1", progress=kill)
        redis.start()
        result = registry.push(label_set, "glyphs:v1")
        assert result.known_blobs > 0
