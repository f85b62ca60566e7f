"""What every store must do, run against every store."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelcast.errors import (
    BlobNotFoundError,
    InvalidRequestError,
    LabelSetNotFoundError,
    StoreUnavailableError,
    TransitionError,
    UploadNotFoundError,
    UploadOffsetError,
)
from labelcast_server.store.base import Store
from labelcast_server.store.catalog import State
from tests.server.store.blobs import begin, content_of, cut, digest, label_set, push, put, session

CONTENT = bytes(range(95))
CHUNKS = cut(CONTENT, 10)


async def test_a_pushed_blob_comes_back(store: Store) -> None:
    info = await push(store, CONTENT)

    assert (info.digest, info.size, info.chunk_bytes) == (digest(CONTENT), 95, 10)
    assert await store.blob(info.digest) == info
    assert await content_of(store, info) == CONTENT
    assert await store.memory_bytes(info.digest) >= info.size


async def test_a_dropped_blob_can_be_pushed_again(store: Store) -> None:
    info = await push(store, CONTENT)
    other = await push(store, CONTENT[::-1])

    await store.drop_blob(info.digest)
    with pytest.raises(BlobNotFoundError):
        await store.blob(info.digest)
    with pytest.raises(BlobNotFoundError):
        await store.read_chunks(info.digest, [0])
    await store.drop_blob(info.digest)

    assert await push(store, CONTENT) == info
    assert await content_of(store, info) == CONTENT
    assert await content_of(store, other) == CONTENT[::-1]
    assert await store.sweep(0) == 0
    assert await content_of(store, info) == CONTENT


async def test_chunks_come_in_the_order_asked_for(store: Store) -> None:
    info = await push(store, CONTENT)

    wanted = [9, 0, 4, 4]
    assert await store.read_chunks(info.digest, wanted) == [CHUNKS[number] for number in wanted]
    assert await store.read_chunks(info.digest, []) == []


@given(content=st.binary(max_size=400), chunk_bytes=st.integers(1, 50), step=st.integers(1, 70))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_content_survives_any_cut(
    loop_runner: asyncio.Runner, any_store: Store, content: bytes, chunk_bytes: int, step: int
) -> None:
    async def round_trip() -> None:
        upload = await begin(any_store, content, chunk_bytes)
        chunks = cut(content, chunk_bytes)
        for first in range(0, len(chunks), step):
            await any_store.append_chunks(upload.upload_id, first, chunks[first : first + step])
        numbers = range(len(chunks))
        assert await any_store.read_upload_chunks(upload.upload_id, numbers) == chunks
        info = await any_store.finish_upload(upload.upload_id)
        # Equal contents that were cut otherwise keep their first cut.
        assert await content_of(any_store, info) == content

    loop_runner.run(round_trip())


async def test_an_upload_is_invisible_until_it_is_finished(store: Store) -> None:
    upload = await begin(store, CONTENT)
    await store.append_chunks(upload.upload_id, 0, CHUNKS)

    with pytest.raises(BlobNotFoundError):
        await store.blob(upload.blob.digest)
    with pytest.raises(BlobNotFoundError):
        await store.read_chunks(upload.blob.digest, [0])
    with pytest.raises(BlobNotFoundError):
        await store.memory_bytes(upload.blob.digest)

    await store.finish_upload(upload.upload_id)
    assert await content_of(store, upload.blob) == CONTENT


async def test_an_upload_advances_by_whole_chunks(store: Store) -> None:
    upload = await begin(store, CONTENT)
    assert await store.upload(upload.upload_id) == upload

    half = await store.append_chunks(upload.upload_id, 0, CHUNKS[:4])
    assert half == replace(upload, received_bytes=40)
    assert await store.append_chunks(upload.upload_id, 4, []) == half
    assert await store.upload(upload.upload_id) == half
    assert await store.read_upload_chunks(upload.upload_id, [3, 1]) == [CHUNKS[3], CHUNKS[1]]
    with pytest.raises(InvalidRequestError):
        await store.read_upload_chunks(upload.upload_id, [4])

    whole = await store.append_chunks(upload.upload_id, 4, CHUNKS[4:])
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
    store: Store, first_chunk: int, chunks: list[bytes]
) -> None:
    upload = await begin(store, CONTENT)
    half = await store.append_chunks(upload.upload_id, 0, CHUNKS[:4])

    with pytest.raises(UploadOffsetError) as caught:
        await store.append_chunks(upload.upload_id, first_chunk, chunks)
    assert caught.value.facts["received_bytes"] == "40"
    assert await store.upload(upload.upload_id) == half
    with pytest.raises(UploadOffsetError):
        await store.finish_upload(upload.upload_id)

    await store.append_chunks(upload.upload_id, 4, CHUNKS[4:])
    assert await content_of(store, await store.finish_upload(upload.upload_id)) == CONTENT


async def test_of_two_racing_appends_the_session_advances_once(store: Store) -> None:
    upload = await begin(store, CONTENT)

    outcomes = await asyncio.gather(
        *(store.append_chunks(upload.upload_id, 0, CHUNKS[:4]) for _ in range(4)),
        return_exceptions=True,
    )

    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "Upload",
        *["UploadOffsetError"] * 3,
    ]
    assert (await store.upload(upload.upload_id)).received_bytes == 40


async def test_two_sessions_of_one_digest_do_not_meet(store: Store) -> None:
    first, second = await begin(store, CONTENT), await begin(store, CONTENT, chunk_bytes=20)
    wrong = [bytes(len(chunk)) for chunk in cut(CONTENT, 20)]
    await store.append_chunks(first.upload_id, 0, CHUNKS[:5])
    await store.append_chunks(second.upload_id, 0, wrong)
    await store.append_chunks(first.upload_id, 5, CHUNKS[5:])
    await store.finish_upload(first.upload_id)

    # A session that ends second is dropped, whatever it holds: a visible blob never changes.
    assert await store.finish_upload(second.upload_id) == first.blob
    assert await content_of(store, first.blob) == CONTENT
    with pytest.raises(UploadNotFoundError):
        await store.upload(second.upload_id)


async def test_a_session_is_finished_once(store: Store) -> None:
    upload = await begin(store, CONTENT)
    await store.append_chunks(upload.upload_id, 0, CHUNKS)

    outcomes = await asyncio.gather(
        *(store.finish_upload(upload.upload_id) for _ in range(3)), return_exceptions=True
    )

    assert outcomes.count(upload.blob) == 1
    assert sum(isinstance(outcome, UploadNotFoundError) for outcome in outcomes) == 2


async def test_sessions_that_are_gone(store: Store) -> None:
    finished, aborted = await begin(store, b""), await begin(store, CONTENT)
    await store.finish_upload(finished.upload_id)
    await store.append_chunks(aborted.upload_id, 0, CHUNKS[:3])
    await store.abort_upload(aborted.upload_id)
    await store.abort_upload(aborted.upload_id)

    for upload_id in (finished.upload_id, aborted.upload_id, "never-was"):
        with pytest.raises(UploadNotFoundError):
            await store.upload(upload_id)
        with pytest.raises(UploadNotFoundError):
            await store.append_chunks(upload_id, 0, [b"x"])
        with pytest.raises(UploadNotFoundError):
            await store.read_upload_chunks(upload_id, [0])
        with pytest.raises(UploadNotFoundError):
            await store.finish_upload(upload_id)
    assert (await store.blob(finished.blob.digest)).size == 0


async def test_sweep_takes_what_expired(store: Store) -> None:
    uploads = [session(CONTENT, expires_at=at) for at in (100.0, 200.0, 300.0)]
    for upload in uploads:
        await store.begin_upload(upload)
        await store.append_chunks(upload.upload_id, 0, CHUNKS)

    assert await store.sweep(250.0) == 2
    assert await store.sweep(250.0) == 0
    assert (await store.upload(uploads[2].upload_id)).received_bytes == 95
    with pytest.raises(UploadNotFoundError):
        await store.upload(uploads[0].upload_id)


async def test_new_sessions_are_checked(store: Store) -> None:
    good = session(CONTENT)
    await store.begin_upload(good)
    await store.begin_upload(good)
    for bad in (
        replace(good, received_bytes=10),
        replace(good, upload_id="a{b}"),
        replace(good, upload_id=""),
        replace(good, blob=replace(good.blob, chunk_bytes=0)),
        replace(good, blob=replace(good.blob, size=-1)),
        replace(good, blob=replace(good.blob, size=7)),
    ):
        with pytest.raises(InvalidRequestError):
            await store.begin_upload(bad)
    assert await store.upload(good.upload_id) == good


@pytest.mark.parametrize("numbers", [[-1], [10], [0, 99]])
async def test_chunks_that_do_not_exist(store: Store, numbers: list[int]) -> None:
    info = await push(store, CONTENT)
    with pytest.raises(InvalidRequestError):
        await store.read_chunks(info.digest, numbers)


async def test_label_sets_are_listed_oldest_first(store: Store) -> None:
    newer, older = await put(store, label_set("newer", 1700000000.25), label_set("older", 5.0))

    assert await store.label_sets() == [older, newer]
    assert await store.label_set(newer.digest) == newer
    with pytest.raises(LabelSetNotFoundError):
        await store.label_set(digest(b"unknown"))


async def test_a_second_put_changes_nothing(store: Store) -> None:
    (record,) = await put(store, label_set("a"))
    await store.transition(record.digest, expected=State.STAGED, new=State.PUBLISHED)
    await store.put_label_set(replace(record, created_at=9.0))

    assert await store.label_set(record.digest) == replace(record, state=State.PUBLISHED)


async def test_life_of_a_label_set(store: Store) -> None:
    first, second = await put(store, label_set("first"), label_set("second", 2.0))
    for record in (first, second):
        await store.transition(
            record.digest, expected=State.STAGED, new=State.PUBLISHED, tag="latest"
        )
        assert await store.tags() == {"latest": record.digest}
    await store.transition(
        first.digest, expected=State.PUBLISHED, new=State.PUBLISHED, tag="stable"
    )
    assert await store.tags() == {"latest": second.digest, "stable": first.digest}

    await store.transition(second.digest, expected=State.PUBLISHED, new=State.RETIRED)
    assert await store.tags() == {"stable": first.digest}
    assert [record.state for record in await store.label_sets()] == ["published", "retired"]


async def test_steps_that_do_not_exist(store: Store) -> None:
    (record,) = await put(store, label_set("a"))
    with pytest.raises(TransitionError, match="is staged, not published"):
        await store.transition(record.digest, expected=State.PUBLISHED, new=State.RETIRED)
    with pytest.raises(LabelSetNotFoundError):
        await store.transition(
            digest(b"unknown"), expected=State.STAGED, new=State.PUBLISHED, tag="t"
        )
    with pytest.raises(InvalidRequestError):
        await store.transition(record.digest, expected=State.STAGED, new=State.RETIRED, tag="t")
    assert await store.label_set(record.digest) == record
    assert await store.tags() == {}


async def test_of_racing_transitions_one_wins(store: Store) -> None:
    (record,) = await put(store, label_set("a"))
    outcomes = await asyncio.gather(
        *(
            store.transition(record.digest, expected=State.STAGED, new=State.PUBLISHED, tag=tag)
            for tag in "abcdefgh"
        ),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, TransitionError) for outcome in outcomes) == 7
    assert await store.tags() == {"abcdefgh"[outcomes.index(None)]: record.digest}


async def test_many_tasks_at_once(store: Store) -> None:
    contents = [bytes([number]) * 1000 for number in range(40)]
    infos = await asyncio.gather(*(push(store, content, 64) for content in contents))
    assert await asyncio.gather(*(content_of(store, info) for info in infos)) == contents


async def test_capacity(store: Store) -> None:
    capacity = await store.capacity()
    assert capacity.used_bytes >= 0
    assert capacity.headroom_bytes is None or capacity.headroom_bytes > 0
    assert capacity.bound


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.ping()


async def test_the_state_alone(store: Store) -> None:
    record = label_set("a")
    with pytest.raises(LabelSetNotFoundError):
        await store.label_set_state(record.digest)
    await store.put_label_set(record)

    assert await store.label_set_state(record.digest) is State.STAGED
