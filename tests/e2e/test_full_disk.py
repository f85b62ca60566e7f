"""A data disk that fills up: pushes are refused and come back, readers notice nothing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from labelcast import Representation
from labelcast.errors import StoreFullError
from labelcast.registry.client import Registry
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, eventually, running_service
from tests.factories.tiny_disk import tiny_disk

CODES = Representation.codes()


def read(service: RunningService, known: KnownLabelSet, reference: str) -> None:
    at = np.random.default_rng(0).permutation(len(known.rows))[:20_000]
    with service.client() as client:
        label_set = client.open(reference)
        known.check(client.labels(label_set, known.views[at], CODES), at, CODES)


@contextmanager
def reading(service: RunningService, known: KnownLabelSet, reference: str) -> Iterator[None]:
    """Readers that go on all the while; any failure of theirs ends the test."""
    stop, failures, done = threading.Event(), [], []

    def run() -> None:
        try:
            while not stop.is_set():
                read(service, known, reference)
                done.append(1)
        except Exception as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
        seen = len(done)
        eventually(lambda: bool(failures) or len(done) > seen + 1, "readers go on")
    finally:
        stop.set()
        thread.join()
    assert failures == []


def capacity(service: RunningService) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {service.token()}"}
    answer = httpx.get(f"{service.admin}/v1/capacity", headers=headers, timeout=100)
    assert answer.status_code == 200
    return dict(answer.json())


def once_half_is_sent(act: Callable[[], None]) -> Callable[[int, int], None]:
    acted: list[int] = []

    def progress(done: int, total: int) -> None:
        if done >= total // 3 and not acted:
            acted.append(done)
            act()

    return progress


def test_a_disk_that_fills_during_a_push(tmp_path: Path) -> None:
    old = known_label_set(tmp_path / "old", "raw", seed=1)
    new = known_label_set(
        tmp_path / "new", "raw", num_samples=20_000, seed=2, num_classes=80, shard_bytes=2 * 2**20
    )
    with (
        tiny_disk(tmp_path / "disk", 96) as disk,
        running_service(disk.path) as service,
    ):
        service.push(old.on_disk, "old:v1")
        read(service, old, "old:v1")
        redis = service.processes().redis
        assert redis is not None
        with reading(service, old, "old:v1"), service.registry() as registry:
            with pytest.raises(StoreFullError, match="free disk space"):
                registry.push(new.on_disk, "new:v1", progress=once_half_is_sent(disk.fill))
            assert {"headroom_bytes": 0, "bound": "disk"}.items() <= capacity(service).items()
            for write in (
                lambda: registry.tag("old:v2", old.on_disk.digest),
                lambda: registry.retire("old:v1"),
                lambda: registry.push(new.on_disk, "new:v1"),
            ):
                with pytest.raises(StoreFullError, match="disk"):
                    write()
            # Nothing has died, and what is there is shown.
            assert redis.is_running()
            assert [found.tags for found in registry.list()] == [("old:v1",)]
            disk.free()
            registry.push(new.on_disk, "new:v1")
        read(service, new, "new:v1")

        # A second time, and through a restart on the full disk.
        disk.fill()
        assert service.stop() == 0
        service.start()
        # The old cache went, and its room with it.
        disk.fill()
        read(service, old, "old:v1")
        read(service, new, "new:v1")
        with service.registry() as again:
            with pytest.raises(StoreFullError):
                again.tag("old:v2", old.on_disk.digest)
            disk.free()
            again.tag("old:v2", old.on_disk.digest)
        reserve = service.data_dir / "redis" / "reserve"
        eventually(reserve.exists, "the reserve is made again")


def test_a_redis_that_a_full_disk_ended_comes_back(tmp_path: Path) -> None:
    known = known_label_set(tmp_path / "set", "raw")
    with tiny_disk(tmp_path / "disk", 96) as disk, running_service(disk.path) as service:
        service.push(known.on_disk, "set:v1")
        disk.fill()
        redis = service.processes().redis
        assert redis is not None
        # Behind the service's back, which would not have written.
        # Its client tries again, and may get through to the next one.
        with service.raw_redis() as raw, suppress(RedisConnectionError):
            raw.set("filling", b"x" * 2**20)
        eventually(lambda: not redis.is_running(), "Redis ended")

        def serves() -> bool:
            try:
                return capacity(service)["bound"] == "disk"
            except (AssertionError, httpx.HTTPError):
                return False

        eventually(serves, "the service is back")
        read(service, known, "set:v1")
        disk.free()
        with service.registry() as registry:
            registry.tag("set:v2", known.on_disk.digest)


def test_a_reserve_larger_than_the_disk(tmp_path: Path) -> None:
    known = known_label_set(tmp_path / "set", "topk")
    with running_service(tmp_path) as service:
        service.push(known.on_disk, "set:v1")
        service.stop()
    reserve = {"LABELCAST_DISK_RESERVE_BYTES": str(2**50)}
    with running_service(tmp_path, environment=reserve) as service:
        read(service, known, "set:v1")
        assert capacity(service)["headroom_bytes"] == 0
        with Registry(service.admin, service.token()) as registry:
            with pytest.raises(StoreFullError):
                registry.tag("set:v2", known.on_disk.digest)
            assert [found.tags for found in registry.list()] == [("set:v1",)]
    with running_service(tmp_path) as service, service.registry() as registry:
        registry.tag("set:v2", known.on_disk.digest)
        read(service, known, "set:v2")
