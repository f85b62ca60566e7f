"""What the store makes of a Redis that is full, gone, slow, wrong or tampered with."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis import exceptions as foreign

from labelcast.errors import (
    BlobNotFoundError,
    ChecksumMismatchError,
    DigestMismatchError,
    InvalidRequestError,
    StorageError,
    StoreFullError,
    StoreUnavailableError,
)
from labelcast.identifiers import Tag, UploadId
from labelcast_server.store.catalog import LabelSetRecord, State
from labelcast_server.store.open_store import open_store
from labelcast_server.store.redis import keys
from labelcast_server.store.redis.errors import translated
from labelcast_server.store.redis.health import online_replicas
from labelcast_server.store.store import Store
from tests.factories.real_redis import RealRedis, running_redis
from tests.server.store.blobs import begin, content_of, cut, label_set, push, put, session

MIB = 2**20
SECRET = "hunter2secret"
# Far above any time limit of a store: whoever takes that long hangs.
_HANGS_SECONDS = 60


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RealRedis]:
    """A Redis that the test may harm."""
    with running_redis(tmp_path) as redis:
        yield redis


@pytest.fixture
def small_redis(redis_server: RealRedis, redis_url: str) -> Iterator[RealRedis]:
    """An empty Redis with room for two more MiB."""
    with redis_server.client() as client:
        client.config_set("maxmemory", client.info()["used_memory"] + 2 * MIB)
        yield redis_server
        client.config_set("maxmemory", 0)


async def test_a_full_redis_refuses_and_loses_nothing(
    small_redis: RealRedis, redis_store: Store
) -> None:
    kept = await push(redis_store.blobs, b"kept" * 1000, 1000)
    big = os.urandom(8 * MIB)
    upload = await begin(redis_store.blobs, big, 65_504)
    chunks = cut(big, 65_504)

    async def send() -> None:
        for first in range(0, len(chunks), 8):
            await redis_store.blobs.append_chunks(
                upload.upload_id, first, chunks[first : first + 8]
            )

    with pytest.raises(StoreFullError, match="maxmemory") as caught:
        await send()
    assert str(small_redis.port) in caught.value.message
    with pytest.raises(BlobNotFoundError):
        await redis_store.blobs.blob(upload.blob.digest)
    assert await content_of(redis_store.blobs, kept) == b"kept" * 1000

    # Giving up must work when nothing else does, and gives the room back.
    await redis_store.blobs.abort_upload(upload.upload_id)
    assert await content_of(redis_store.blobs, await push(redis_store.blobs, b"fits")) == b"fits"


async def test_a_complete_upload_can_be_finished_when_redis_is_full(
    small_redis: RealRedis, redis_store: Store
) -> None:
    upload = await begin(redis_store.blobs, b"x" * 100)
    await redis_store.blobs.append_chunks(upload.upload_id, 0, cut(b"x" * 100, 10))
    with small_redis.client() as client:
        client.config_set("maxmemory", 1)

    with pytest.raises(StoreFullError):
        await begin(redis_store.blobs, b"another")
    assert await redis_store.blobs.finish_upload(upload.upload_id) == upload.blob
    assert await content_of(redis_store.blobs, upload.blob) == b"x" * 100
    capacity = await redis_store.blobs.capacity()
    assert (capacity.headroom_bytes, capacity.bound) == (0, "maxmemory")


async def test_what_was_acknowledged_survives_a_kill(own_redis: RealRedis) -> None:
    store = open_store(own_redis.url, timeout_seconds=2)
    content = os.urandom(16 * MIB)
    chunks = cut(content, 65_504)
    blob = await push(store.blobs, content[:MIB], 65_504)
    upload = await begin(store.blobs, content, 65_504)
    acknowledged = 0

    async def send() -> None:
        nonlocal acknowledged
        for first in range(0, len(chunks), 4):
            await store.blobs.append_chunks(upload.upload_id, first, chunks[first : first + 4])
            acknowledged = first + 4
            if acknowledged == 16:
                half_way.set()

    half_way = asyncio.Event()
    sending = asyncio.create_task(send())
    await half_way.wait()
    own_redis.kill()
    async with asyncio.timeout(_HANGS_SECONDS):
        with pytest.raises(StoreUnavailableError, match="cannot be reached"):
            await sending

    await asyncio.to_thread(own_redis.start)
    assert await content_of(store.blobs, blob) == content[:MIB]
    received = (await store.blobs.upload(upload.upload_id)).received_bytes // 65_504
    assert received >= acknowledged
    assert (
        await store.blobs.read_upload_chunks(upload.upload_id, range(received)) == chunks[:received]
    )
    await store.blobs.append_chunks(upload.upload_id, received, chunks[received:])
    assert (
        await content_of(store.blobs, await store.blobs.finish_upload(upload.upload_id)) == content
    )
    await store.close()


async def test_a_redis_that_hangs_is_given_up_in_time(own_redis: RealRedis) -> None:
    store = open_store(own_redis.url, timeout_seconds=0.3)
    blob = await push(store.blobs, b"content")
    own_redis.process.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(_HANGS_SECONDS):
        with pytest.raises(StoreUnavailableError, match="network is slow; try again"):
            await store.blobs.read_chunks(blob.digest, [0])
        with pytest.raises(StoreUnavailableError):
            await push(store.blobs, b"more")
    own_redis.process.send_signal(signal.SIGCONT)
    assert await content_of(store.blobs, blob) == b"content"
    await store.close()


@pytest.mark.parametrize("user", ["", "default", "someone"])
async def test_a_wrong_password_does_not_leak(tmp_path: Path, user: str) -> None:
    with running_redis(tmp_path, "--requirepass", "right") as redis:
        store = open_store(f"redis://{user}:{SECRET}@127.0.0.1:{redis.port}/0")
        with pytest.raises(StoreUnavailableError) as caught:
            await store.ping()
        assert f"127.0.0.1:{redis.port}" in caught.value.message
        assert "password" in caught.value.message
        assert SECRET not in f"{caught.value!r} {caught.value.facts} {caught.value.__cause__!r}"
        await store.close()
        without = open_store(redis.url)
        with pytest.raises(StoreUnavailableError, match="password"):
            await without.ping()
        await without.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        f"http://user:{SECRET}@host/",
        f"redis://user:{SECRET}@host:notaport/",
        f"redis://user:{SECRET}@[half/",
        f"redis://user:{SECRET}@host/0?no_such_option=1",
        f"redis://user:{SECRET}@host/0?max_connections=many",
        "unix://",
    ],
)
def test_malformed_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        open_store(url)
    assert SECRET not in str(caught.value)


async def test_nobody_there(tmp_path: Path, redis_store: Store) -> None:
    for url in (f"unix://{tmp_path}/none.sock", "redis://127.0.0.1:1/0"):
        store = open_store(url, timeout_seconds=1)
        async with asyncio.timeout(_HANGS_SECONDS):
            with pytest.raises(StoreUnavailableError, match="it runs and that the address is"):
                await store.ping()
        await store.close()
    await redis_store.ping()


async def test_missing_and_truncated_chunks_are_typed_errors(
    redis_server: RealRedis, redis_store: Store
) -> None:
    blob = await push(redis_store.blobs, bytes(range(95)))
    with redis_server.client() as client:
        (first,) = client.keys("labelcast:*:0")
        (second,) = client.keys("labelcast:*:1")
        client.setrange(first, 0, b"long" * 5)
        client.delete(second)

    with pytest.raises(ChecksumMismatchError, match="20 bytes, not 10"):
        await redis_store.blobs.read_chunks(blob.digest, [2, 0])
    with pytest.raises(BlobNotFoundError, match=r"chunk 1 .* is gone"):
        await redis_store.blobs.read_chunks(blob.digest, [1])
    with pytest.raises(BlobNotFoundError):
        await redis_store.blobs.memory_bytes(blob.digest)
    assert await redis_store.blobs.read_chunks(blob.digest, [2]) == [bytes(range(20, 30))]


async def test_a_blob_that_someone_replaced_is_found_again(
    redis_server: RealRedis, redis_store: Store
) -> None:
    blob = await push(redis_store.blobs, b"content" * 10)
    assert await content_of(redis_store.blobs, blob) == b"content" * 10
    with redis_server.client() as client:
        client.flushall()
    again = open_store(redis_server.url)
    await push(again.blobs, b"content" * 10, 16)
    await again.close()

    assert b"".join(await redis_store.blobs.read_chunks(blob.digest, range(5))) == b"content" * 10


async def test_a_late_writer_leaves_no_chunks_behind(
    redis_server: RealRedis, redis_store: Store
) -> None:
    upload = session(b"x" * 30, expires_at=100.0)
    await redis_store.blobs.begin_upload(upload)
    await redis_store.blobs.append_chunks(upload.upload_id, 0, [b"x" * 10])
    await redis_store.blobs.abort_upload(upload.upload_id)
    with redis_server.client() as client:
        # As a writer does that checked the session before it was aborted.
        client.set(keys.chunk_key(upload.upload_id, 2), b"x" * 10)
        await redis_store.blobs.sweep(50.0)
        assert client.keys("labelcast:*:2") == []
        assert client.hlen(keys.GARBAGE) == 1
        await redis_store.blobs.sweep(101.0)
        assert client.keys("*") == []


async def test_a_chunk_that_another_writer_left_is_kept_if_it_is_the_same(
    redis_server: RealRedis, redis_store: Store
) -> None:
    upload = await begin(redis_store.blobs, bytes(range(95)))
    chunks = cut(bytes(range(95)), 10)
    with redis_server.client() as client:
        client.set(keys.chunk_key(upload.upload_id, 3), chunks[3])
        await redis_store.blobs.append_chunks(upload.upload_id, 0, chunks[:5])
        client.set(keys.chunk_key(upload.upload_id, 6), b"otherbytes")
        with pytest.raises(DigestMismatchError, match="; abort it and start over"):
            await redis_store.blobs.append_chunks(upload.upload_id, 5, chunks[5:])
        assert client.get(keys.chunk_key(upload.upload_id, 6)) == b"otherbytes"
    assert (await redis_store.blobs.upload(upload.upload_id)).received_bytes == 50
    await redis_store.blobs.abort_upload(upload.upload_id)
    await push(redis_store.blobs, bytes(range(95)))


async def test_foreign_values_under_our_keys(redis_server: RealRedis, redis_store: Store) -> None:
    with redis_server.client() as client:
        client.set(keys.UPLOADS, "not a hash")
    with pytest.raises(StorageError, match="WRONGTYPE"):
        await redis_store.blobs.upload(UploadId("some-id"))


async def test_a_store_serves_one_event_loop_after_another(redis_url: str) -> None:
    store = open_store(redis_url)
    blob = await push(store.blobs, b"content")

    def elsewhere() -> bytes:
        async def read() -> bytes:
            other = await content_of(store.blobs, blob)
            await store.close()
            return other

        return asyncio.run(read())

    assert await asyncio.to_thread(elsewhere) == b"content"
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.ping()
    await store.close()


def test_a_forked_child_connects_anew(redis_url: str, loop_runner: asyncio.Runner) -> None:
    store = open_store(redis_url)
    loop_runner.run(store.ping())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(store.ping())
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    loop_runner.run(store.ping())
    loop_runner.run(store.close())


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (
            foreign.OutOfMemoryError("command not allowed when used memory"),
            StoreFullError,
            "memory",
        ),
        (
            foreign.ResponseError("Error running script: -OOM command not allowed when used"),
            StoreFullError,
            "memory",
        ),
        (
            foreign.ResponseError(
                "Command # 1 (SET k secret) of pipeline caused error: MISCONF Redis is configured"
            ),
            StoreFullError,
            "disk",
        ),
        (foreign.ReadOnlyError("You can't write"), StoreUnavailableError, "read-only"),
        (foreign.BusyLoadingError("Redis is loading"), StoreUnavailableError, "loading"),
        (foreign.ResponseError("NOREPLICAS Not enough"), StoreUnavailableError, "replicas"),
        (foreign.MovedError("1 127.0.0.1:1"), StoreUnavailableError, "Cluster"),
        (foreign.NoPermissionError("this user secret"), StoreUnavailableError, "user"),
        (foreign.AuthenticationError("secret"), StoreUnavailableError, "credentials"),
        (foreign.TimeoutError("secret"), StoreUnavailableError, "in time"),
        (foreign.ConnectionError("secret"), StoreUnavailableError, "reached"),
        (ConnectionResetError("secret"), StoreUnavailableError, "reached"),
        (foreign.ResponseError("ERR unknown command AUTH secret"), StorageError, "(ERR)"),
        (foreign.InvalidResponse("secret"), StoreUnavailableError, "reached"),
    ],
)
def test_every_foreign_error_becomes_ours(
    raised: Exception, expected: type[StorageError], words: str
) -> None:
    with pytest.raises(StorageError) as caught, translated("host:1"):
        raise raised
    assert type(caught.value) is expected
    assert words in caught.value.message
    assert "host:1" in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.__cause__ is None


def _wait_for_replica(client: Redis) -> None:
    deadline = time.monotonic() + _HANGS_SECONDS
    while online_replicas(client.info()) == 0:
        assert time.monotonic() < deadline, "the replica never came online"
        time.sleep(0.02)


async def test_publishing_waits_for_the_replicas(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    quick = ("--repl-diskless-sync-delay", "0")
    with running_redis(tmp_path / "a", *quick) as primary:
        following = ("--replicaof", "127.0.0.1", str(primary.port))
        with running_redis(tmp_path / "b", *following) as replica, primary.client() as client:
            await asyncio.to_thread(_wait_for_replica, client)
            # It counts as online before it first confirms anything.
            client.set("first", "write")
            await asyncio.to_thread(client.execute_command, "WAIT", 1, 30_000)
            store = open_store(primary.url, timeout_seconds=1)
            one, two = await put(store.catalog, label_set("one"), label_set("two"))

            async def publish(record: LabelSetRecord) -> None:
                await store.catalog.transition(
                    record.digest, expected=State.STAGED, new=State.PUBLISHED, tag=Tag("t")
                )

            await publish(one)
            with replica.client() as looking:
                assert looking.hget(keys.TAGS, "t") == one.digest.encode()

            replica.process.send_signal(signal.SIGSTOP)
            says = "0 of 1 replicas .*; look at the replicas and try again"
            with pytest.raises(StorageError, match=says):
                await publish(two)
            assert await store.catalog.label_set(two.digest) == two
            assert await store.catalog.tags() == {"t": one.digest}

            replica.process.send_signal(signal.SIGCONT)
            await asyncio.to_thread(client.execute_command, "WAIT", 1, 30_000)
            await publish(two)
            assert await store.catalog.tags() == {"t": two.digest}
            await store.close()
            behind = open_store(replica.url)
            assert "this Redis is a replica" in " ".join(await behind.blobs.safety_problems())
            with pytest.raises(StoreUnavailableError, match="read-only replica"):
                await push(behind.blobs, b"x")
            await behind.close()


async def test_an_ipv6_address_is_shown_with_its_brackets() -> None:
    store = open_store("redis://[::1]:1/0", timeout_seconds=1)
    with pytest.raises(StoreUnavailableError, match=r"\[::1\]:1\b"):
        await store.ping()
    await store.close()
