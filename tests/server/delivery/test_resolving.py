"""What may be read is asked of the store once, and forgotten as soon as somebody retires it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis import Redis

from labelcast.errors import LabelSetRetiredError, StoreUnavailableError
from labelcast.identifiers import Digest, Tag
from labelcast_server.delivery import resolving
from labelcast_server.delivery.resolving import ReadableLabelSets
from labelcast_server.store.catalog import Catalog, State
from labelcast_server.store.memory import memory_store
from labelcast_server.store.open_store import open_store
from labelcast_server.store.redis import keys
from tests.server.store.blobs import label_set, put


@contextlib.asynccontextmanager
async def watching(readable: ReadableLabelSets) -> AsyncIterator[None]:
    watch = asyncio.create_task(readable.watch())
    await asyncio.sleep(0.05)
    try:
        yield
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


async def published(catalog: Catalog) -> Digest:
    (record,) = await put(catalog, label_set("a"))
    await catalog.transition(
        record.digest, expected=State.STAGED, new=State.PUBLISHED, tag=Tag("a")
    )
    return record.digest


async def test_what_was_asked_once_needs_no_store() -> None:
    store = memory_store()
    digest, readable = await published(store.catalog), ReadableLabelSets(store.catalog)
    async with watching(readable):
        assert await readable.resolve("a") == digest
        await store.close()
        assert await readable.resolve(digest) == digest
        # Where a tag points may change.
        with pytest.raises(StoreUnavailableError):
            await readable.resolve("a")


async def test_it_is_asked_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_TRUST_SECONDS", 0.05)
    store = memory_store()
    digest, readable = await published(store.catalog), ReadableLabelSets(store.catalog)
    async with watching(readable):
        assert await readable.resolve(digest) == digest
        await store.close()
        await asyncio.sleep(0.1)
        with pytest.raises(StoreUnavailableError):
            await readable.resolve(digest)


async def test_nothing_is_remembered_unless_somebody_watches() -> None:
    store = memory_store()
    digest, readable = await published(store.catalog), ReadableLabelSets(store.catalog)
    assert await readable.resolve(digest) == digest
    async with watching(readable):
        assert await readable.resolve(digest) == digest
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await readable.resolve(digest)


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await reached():  # noqa: ASYNC110 - what another process does
            await asyncio.sleep(0.02)


async def retired(readable: ReadableLabelSets, digest: Digest) -> bool:
    try:
        await readable.resolve(digest)
    except LabelSetRetiredError:
        return True
    return False


async def watched(redis_url: str) -> bool:
    with Redis.from_url(redis_url) as client:
        return bool(client.pubsub_numsub(keys.CHANGES)[0][1])


@pytest.mark.parametrize("breaks", [False, True])
async def test_what_another_process_retires_is_refused(
    redis_url: str, breaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolving, "_PAUSE_SECONDS", 0.3)
    # Longer than this test: only a message ends it.
    monkeypatch.setattr(resolving, "_TRUST_SECONDS", 600.0)
    store, other = open_store(redis_url), open_store(redis_url)
    digest, readable = await published(store.catalog), ReadableLabelSets(store.catalog)
    async with watching(readable):
        await until(lambda: watched(redis_url))
        assert await readable.resolve(digest) == digest
        if breaks:
            with Redis.from_url(redis_url) as client:
                client.client_kill_filter(_type="pubsub")
        await other.catalog.transition(digest, expected=State.PUBLISHED, new=State.RETIRED)
        await until(lambda: retired(readable, digest))
    await other.close()
    await store.close()
