"""The disk of the embedded Redis: what is kept back, who is refused, when the file is rewritten."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from labelcast.errors import StoreFullError
from labelcast.identifiers import Tag
from labelcast_server.store.catalog import State
from labelcast_server.store.disk import Disk
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.store.open_store import open_store
from labelcast_server.store.redis.disk import RedisDisk
from labelcast_server.store.store import Store
from tests.factories.tiny_disk import tiny_disk
from tests.server.store.blobs import begin, content_of, label_set, push, put

GIB = 2**30


@pytest.fixture
async def full(embedded_redis: EmbeddedRedis, embedded_url: str) -> AsyncIterator[Store]:
    """A store whose disk has less room than is kept back."""
    store = open_store(embedded_url, disk=Disk(embedded_redis.disk.path, 2**60))
    yield store
    await store.close()


@pytest.fixture
async def roomy(embedded_url: str) -> AsyncIterator[Store]:
    """The same Redis, by someone who does not know of its disk."""
    store = open_store(embedded_url)
    yield store
    await store.close()


async def test_every_write_is_refused_and_every_read_served(full: Store, roomy: Store) -> None:
    info = await push(roomy.blobs, b"content" * 100, 50)
    session = await begin(roomy.blobs, b"other")
    (record,) = await put(roomy.catalog, label_set("one"))
    digest = record.digest

    for write in (
        lambda: begin(full.blobs, b"third"),
        lambda: full.blobs.append_chunks(session.upload_id, 0, [b"other"]),
        lambda: full.catalog.put_label_set(record),
        lambda: full.catalog.transition(
            digest, expected=State.STAGED, new=State.PUBLISHED, tag=Tag("a:b")
        ),
        lambda: full.catalog.transition(digest, expected=State.STAGED, new=State.RETIRED),
    ):
        with pytest.raises(StoreFullError, match="free disk space and try again"):
            await write()
    assert (await roomy.blobs.upload(session.upload_id)).received_bytes == 0
    await roomy.blobs.append_chunks(session.upload_id, 0, [b"other"])
    with pytest.raises(StoreFullError):
        await full.blobs.finish_upload(session.upload_id)
    # What is given up must be able to go.
    await full.blobs.abort_upload(session.upload_id)
    assert await roomy.catalog.label_set_state(digest) is State.STAGED
    assert await roomy.catalog.tags() == {}

    assert await content_of(full.blobs, info) == b"content" * 100
    assert await full.catalog.label_set(digest) == record
    capacity = await full.blobs.capacity()
    assert (capacity.headroom_bytes, capacity.bound) == (0, "disk")
    assert (await roomy.blobs.capacity()).bound == "maxmemory"


async def test_writes_side_by_side_do_not_share_one_piece_of_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 0)
    most = disk.free_bytes() * 2 // 3
    watched = RedisDisk(disk)
    async with watched.write(most):
        with pytest.raises(StoreFullError):
            async with watched.write(most):
                pass
    async with watched.write(most):
        pass


def _info(**fields: int) -> dict[str, int]:
    return {"used_memory": GIB, "aof_base_size": 0, "aof_current_size": GIB} | fields


def test_the_file_is_rewritten_where_there_is_room_for_a_copy(tmp_path: Path) -> None:
    free = Disk(tmp_path, 0).free_bytes()
    watched = RedisDisk(Disk(tmp_path, 0))
    a_little = {"used_memory": 2**20, "aof_current_size": 300 * 2**20}
    assert watched.wants_rewrite(_info(**a_little))
    assert not watched.wants_rewrite(_info(**a_little, aof_rewrite_in_progress=1))
    assert not watched.wants_rewrite(_info(**a_little, aof_base_size=200 * 2**20))
    assert not watched.wants_rewrite(_info(used_memory=free * 2, aof_current_size=free * 2))
    assert not RedisDisk(None).wants_rewrite(_info(**a_little))
    short = RedisDisk(Disk(tmp_path, free - 64 * 2**20))
    # Little room: a copy must fit, and what is garbage is worth getting back earlier.
    assert not short.wants_rewrite(_info())
    assert short.wants_rewrite(
        _info(used_memory=2**20, aof_current_size=200 * 2**20, aof_base_size=150 * 2**20)
    )


def test_a_rewrite_that_runs_takes_its_copy_off_the_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path, 0)
    copy = disk.free_bytes() // 2
    info = {"used_memory": copy, "aof_current_size": copy, "maxmemory": 2**60}
    idle = RedisDisk(disk).capacity(info)
    running = RedisDisk(disk).capacity(info | {"aof_rewrite_in_progress": 1})
    assert idle.headroom_bytes is not None
    assert running.headroom_bytes is not None
    # Half of what is left, since all that is pushed meanwhile is written twice.
    assert running.headroom_bytes < (idle.headroom_bytes - copy) // 2 + 2**27


async def test_nothing_is_rewritten_beside_a_write(tmp_path: Path) -> None:
    watched = RedisDisk(Disk(tmp_path, 0))
    due = {"used_memory": 2**20, "aof_current_size": 300 * 2**20}
    assert watched.wants_rewrite(due)
    async with watched.write(10):
        assert not watched.wants_rewrite(due)
    # Nor right after: a push is many writes.
    assert not watched.wants_rewrite(due)


def test_the_reserve_of_a_disk(tmp_path: Path) -> None:
    assert 0 < Disk.of(tmp_path).reserve_bytes <= 64 * 2**20
    disk = Disk.of(tmp_path, 2**20)
    assert disk.keep_reserve()
    assert disk.reserve_path.stat().st_blocks * 512 >= 2**20
    assert disk.keep_reserve()
    assert disk.give_up_reserve()
    assert not disk.give_up_reserve()
    assert not Disk.of(tmp_path, 2**60).keep_reserve()
    assert [*tmp_path.iterdir()] == []


async def test_redis_starts_on_a_disk_that_is_full(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", 48) as disk:
        embedded = EmbeddedRedis(disk.path / "data")
        with embedded:
            store = open_store(embedded.url, disk=embedded.disk)
            info = await push(store.blobs, b"content" * 1000, 500)
            await store.close()
        assert embedded.disk.reserve_path.exists()
        disk.fill()
        with embedded:
            assert not embedded.disk.reserve_path.exists()
            store = open_store(embedded.url, disk=embedded.disk)
            assert await content_of(store.blobs, info) == b"content" * 1000
            # Others may take even that; what is running goes on and takes no writes.
            disk.fill()
            with pytest.raises(StoreFullError):
                await push(store.blobs, b"other")
            assert await content_of(store.blobs, info) == b"content" * 1000
            disk.free()
            await store.blobs.tend()
            assert embedded.disk.reserve_path.exists()
            await push(store.blobs, b"other")
            await store.close()
        embedded.disk.give_up_reserve()
        (embedded.disk.path / "redis.conf").unlink()
        disk.fill()
        with pytest.raises(StoreFullError, match="Redis cannot start; free some disk space"):
            embedded.start()
        disk.free()
        with embedded:
            pass
