"""The contract of blob stores: every implementation passes every test."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelcast.errors import (
    BlobNotFoundError,
    InvalidRequestError,
    StoreUnavailableError,
    UploadNotFoundError,
    UploadOffsetError,
)
from labelcast.identifiers import UploadId
from labelcast_server.store.blob_store import BlobStore
from labelcast_server.store.store import Store
from tests.server.store.blobs import begin, content_of, cut, digest, push, session

CONTENT = bytes(range(95))
CHUNKS = cut(CONTENT, 10)


async def test_a_pushed_blob_comes_back(blobs: BlobStore) -> None:
    info = await push(blobs, CONTENT)

    assert (info.digest, info.size, info.chunk_bytes) == (digest(CONTENT), 95, 10)
    assert await blobs.blob(info.digest) == info
    assert await content_of(blobs, info) == CONTENT
    assert await blobs.memory_bytes(info.digest) >= info.size


async def test_a_dropped_blob_can_be_pushed_again(blobs: BlobStore) -> None:
    info = await push(blobs, CONTENT)
    other = await push(blobs, CONTENT[::-1])

    await blobs.drop_blob(info.digest)
    with pytest.raises(BlobNotFoundError):
        await blobs.blob(info.digest)
    with pytest.raises(BlobNotFoundError):
        await blobs.read_chunks(info.digest, [0])
    await blobs.drop_blob(info.digest)

    assert await push(blobs, CONTENT) == info
    assert await content_of(blobs, info) == CONTENT
    assert await content_of(blobs, other) == CONTENT[::-1]
    assert await blobs.sweep(0) == 0
    assert await content_of(blobs, info) == CONTENT


async def test_chunks_come_in_the_order_asked_for(blobs: BlobStore) -> None:
    info = await push(blobs, CONTENT)

    wanted = [9, 0, 4, 4]
    assert await blobs.read_chunks(info.digest, wanted) == [CHUNKS[number] for number in wanted]
    assert await blobs.read_chunks(info.digest, []) == []


@given(content=st.binary(max_size=400), chunk_bytes=st.integers(1, 50), step=st.integers(1, 70))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_content_survives_any_cut(
    loop_runner: asyncio.Runner, any_blobs: BlobStore, content: bytes, chunk_bytes: int, step: int
) -> None:
    async def round_trip() -> None:
        upload = await begin(any_blobs, content, chunk_bytes)
        chunks = cut(content, chunk_bytes)
        for first in range(0, len(chunks), step):
            await any_blobs.append_chunks(upload.upload_id, first, chunks[first : first + step])
        numbers = range(len(chunks))
        assert await any_blobs.read_upload_chunks(upload.upload_id, numbers) == chunks
        info = await any_blobs.finish_upload(upload.upload_id)
        # Equal contents that were cut otherwise keep their first cut.
        assert await content_of(any_blobs, info) == content

    loop_runner.run(round_trip())


async def test_an_upload_is_invisible_until_it_is_finished(blobs: BlobStore) -> None:
    upload = await begin(blobs, CONTENT)
    await blobs.append_chunks(upload.upload_id, 0, CHUNKS)

    with pytest.raises(BlobNotFoundError):
        await blobs.blob(upload.blob.digest)
    with pytest.raises(BlobNotFoundError):
        await blobs.read_chunks(upload.blob.digest, [0])
    with pytest.raises(BlobNotFoundError):
        await blobs.memory_bytes(upload.blob.digest)

    await blobs.finish_upload(upload.upload_id)
    assert await content_of(blobs, upload.blob) == CONTENT


async def test_an_upload_advances_by_whole_chunks(blobs: BlobStore) -> None:
    upload = await begin(blobs, CONTENT)
    assert await blobs.upload(upload.upload_id) == upload

    half = await blobs.append_chunks(upload.upload_id, 0, CHUNKS[:4])
    assert half == replace(upload, received_bytes=40)
    assert await blobs.append_chunks(upload.upload_id, 4, []) == half
    assert await blobs.upload(upload.upload_id) == half
    assert await blobs.read_upload_chunks(upload.upload_id, [3, 1]) == [CHUNKS[3], CHUNKS[1]]
    with pytest.raises(InvalidRequestError):
        await blobs.read_upload_chunks(upload.upload_id, [4])

    whole = await blobs.append_chunks(upload.upload_id, 4, CHUNKS[4:])
    assert whole.received_bytes == 95


@pytest.mark.parametrize(
    ("first_chunk", "chunks"),
    [
        pytest.param(0, CHUNKS[:1], id="sent before"),
        pytest.param(5, CHUNKS[5:6], id="gap"),
        pytest.param(4, [CHUNKS[4][:-1]], id="short"),
        pytest.param(4, [CHUNKS[4] + b"x"], id="long"),
        pytest.param(4, [*CHUNKS[4:9], CHUNKS[9] + b"12345"], id="last one full"),
        pytest.param(4, [*CHUNKS[4:], b""], id="too many"),
    ],
)
async def test_bytes_out_of_order_are_refused(
    blobs: BlobStore, first_chunk: int, chunks: list[bytes]
) -> None:
    upload = await begin(blobs, CONTENT)
    half = await blobs.append_chunks(upload.upload_id, 0, CHUNKS[:4])

    with pytest.raises(UploadOffsetError) as caught:
        await blobs.append_chunks(upload.upload_id, first_chunk, chunks)
    assert caught.value.facts["received_bytes"] == "40"
    assert await blobs.upload(upload.upload_id) == half
    with pytest.raises(UploadOffsetError):
        await blobs.finish_upload(upload.upload_id)

    await blobs.append_chunks(upload.upload_id, 4, CHUNKS[4:])
    assert await content_of(blobs, await blobs.finish_upload(upload.upload_id)) == CONTENT


async def test_of_two_racing_appends_the_session_advances_once(blobs: BlobStore) -> None:
    upload = await begin(blobs, CONTENT)

    outcomes = await asyncio.gather(
        *(blobs.append_chunks(upload.upload_id, 0, CHUNKS[:4]) for _ in range(4)),
        return_exceptions=True,
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "Upload",
        *["UploadOffsetError"] * 3,
    ]
    assert (await blobs.upload(upload.upload_id)).received_bytes == 40


async def test_two_sessions_of_one_digest_do_not_meet(blobs: BlobStore) -> None:
    first, second = await begin(blobs, CONTENT), await begin(blobs, CONTENT, chunk_bytes=20)
    wrong = [bytes(len(chunk)) for chunk in cut(CONTENT, 20)]
    await blobs.append_chunks(first.upload_id, 0, CHUNKS[:5])
    await blobs.append_chunks(second.upload_id, 0, wrong)
    await blobs.append_chunks(first.upload_id, 5, CHUNKS[5:])
    await blobs.finish_upload(first.upload_id)

    # A session that ends second is dropped, whatever it holds: a visible blob never changes.
    assert await blobs.finish_upload(second.upload_id) == first.blob
    assert await content_of(blobs, first.blob) == CONTENT
    with pytest.raises(UploadNotFoundError):
        await blobs.upload(second.upload_id)


async def test_a_session_is_finished_once(blobs: BlobStore) -> None:
    upload = await begin(blobs, CONTENT)
    await blobs.append_chunks(upload.upload_id, 0, CHUNKS)

    outcomes = await asyncio.gather(
        *(blobs.finish_upload(upload.upload_id) for _ in range(3)), return_exceptions=True
    )

    assert outcomes.count(upload.blob) == 1
    assert sum(isinstance(outcome, UploadNotFoundError) for outcome in outcomes) == 2


async def test_sessions_that_are_gone(blobs: BlobStore) -> None:
    finished, aborted = await begin(blobs, b""), await begin(blobs, CONTENT)
    await blobs.finish_upload(finished.upload_id)
    await blobs.append_chunks(aborted.upload_id, 0, CHUNKS[:3])
    await blobs.abort_upload(aborted.upload_id)
    await blobs.abort_upload(aborted.upload_id)

    for upload_id in (finished.upload_id, aborted.upload_id, UploadId("never-was")):
        with pytest.raises(UploadNotFoundError):
            await blobs.upload(upload_id)
        with pytest.raises(UploadNotFoundError):
            await blobs.append_chunks(upload_id, 0, [b"x"])
        with pytest.raises(UploadNotFoundError):
            await blobs.read_upload_chunks(upload_id, [0])
        with pytest.raises(UploadNotFoundError):
            await blobs.finish_upload(upload_id)
    assert (await blobs.blob(finished.blob.digest)).size == 0


async def test_sweep_takes_what_expired(blobs: BlobStore) -> None:
    uploads = [session(CONTENT, expires_at=at) for at in (100.0, 200.0, 300.0)]
    for upload in uploads:
        await blobs.begin_upload(upload)
        await blobs.append_chunks(upload.upload_id, 0, CHUNKS)

    assert await blobs.sweep(250.0) == 2
    assert await blobs.sweep(250.0) == 0
    assert (await blobs.upload(uploads[2].upload_id)).received_bytes == 95
    with pytest.raises(UploadNotFoundError):
        await blobs.upload(uploads[0].upload_id)


async def test_new_sessions_are_checked(blobs: BlobStore) -> None:
    good = session(CONTENT)
    await blobs.begin_upload(good)
    await blobs.begin_upload(good)
    for bad in (
        replace(good, received_bytes=10),
        replace(good, upload_id=UploadId("a{b}")),
        replace(good, upload_id=UploadId("")),
        replace(good, blob=replace(good.blob, chunk_bytes=0)),
        replace(good, blob=replace(good.blob, size=-1)),
        replace(good, blob=replace(good.blob, size=7)),
    ):
        with pytest.raises(InvalidRequestError):
            await blobs.begin_upload(bad)
    assert await blobs.upload(good.upload_id) == good


@pytest.mark.parametrize("numbers", [[-1], [10], [0, 99]])
async def test_chunks_that_do_not_exist(blobs: BlobStore, numbers: list[int]) -> None:
    info = await push(blobs, CONTENT)
    with pytest.raises(InvalidRequestError):
        await blobs.read_chunks(info.digest, numbers)


async def test_many_tasks_at_once(blobs: BlobStore) -> None:
    contents = [bytes([number]) * 1000 for number in range(40)]
    infos = await asyncio.gather(*(push(blobs, content, 64) for content in contents))
    assert await asyncio.gather(*(content_of(blobs, info) for info in infos)) == contents


async def test_capacity(blobs: BlobStore) -> None:
    capacity = await blobs.capacity()
    assert capacity.used_bytes >= 0
    assert capacity.headroom_bytes is None or capacity.headroom_bytes > 0
    assert capacity.bound


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.ping()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.ping()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.blobs.capacity()
