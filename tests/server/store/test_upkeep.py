"""Upkeep: what is done whether or not anybody pushes, and goes on through failures."""

import asyncio
from collections.abc import Callable

import pytest

from labelcast.errors import UploadNotFoundError
from labelcast.identifiers import UploadId
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.store.open_store import open_store
from labelcast_server.store.redis.link import RedisLink
from labelcast_server.store.store import Store
from labelcast_server.store.upkeep import keep_up
from tests.server.store.blobs import content_of, push, session


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.02)


async def test_expired_uploads_go_though_nobody_begins_another(redis_store: Store) -> None:
    expired = session(b"content", expires_at=1.0)
    await redis_store.blobs.begin_upload(expired)
    task = asyncio.create_task(keep_up(redis_store.blobs, tend_seconds=0.01, sweep_seconds=0))
    try:
        async with asyncio.timeout(60):
            while await _is_there(redis_store, expired.upload_id):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
    finally:
        task.cancel()


async def _is_there(store: Store, upload_id: UploadId) -> bool:
    try:
        await store.blobs.upload(upload_id)
    except UploadNotFoundError:
        return False
    return True


async def test_upkeep_outlives_a_store_that_was_away(
    embedded_redis: EmbeddedRedis, embedded_url: str
) -> None:
    store = open_store("unix:///nowhere/redis.sock", disk=embedded_redis.disk)
    embedded_redis.disk.give_up_reserve()
    task = asyncio.create_task(keep_up(store.blobs, tend_seconds=0.01, sweep_seconds=0))
    try:
        # Made by a look that came after one that had failed.
        for _ in range(2):
            await _until(embedded_redis.disk.reserve_path.exists)
            embedded_redis.disk.give_up_reserve()
        assert not task.done()
    finally:
        task.cancel()
        await store.close()


async def test_a_file_full_of_garbage_is_rewritten_for_real(
    embedded_redis: EmbeddedRedis, embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelcast_server.store.redis.disk._LEAST_REWRITE_BYTES", 2**20)
    monkeypatch.setattr("labelcast_server.store.redis.disk._QUIET_SECONDS", 0.0)
    store = open_store(embedded_url, disk=embedded_redis.disk)
    link = RedisLink(embedded_url, timeout_seconds=10)
    dropped = await push(store.blobs, bytes(range(256)) * 32_768, 65_504)
    kept = await push(store.blobs, b"kept" * 1000, 500)
    await store.blobs.drop_blob(dropped.digest)

    async def file_bytes() -> int:
        return int((await link.info())["aof_current_size"])

    before = await file_bytes()
    async with asyncio.timeout(60):
        while await file_bytes() > before // 2:
            await store.blobs.tend()
            await asyncio.sleep(0.05)
    assert await content_of(store.blobs, kept) == b"kept" * 1000
    await link.close()
    await store.close()
