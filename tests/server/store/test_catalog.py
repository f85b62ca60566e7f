"""The contract of catalogs: every implementation passes every test."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from labelcast.errors import (
    InvalidRequestError,
    LabelSetNotFoundError,
    StoreUnavailableError,
    TransitionError,
)
from labelcast.identifiers import Tag
from labelcast_server.store.catalog import Catalog, State
from labelcast_server.store.store import Store
from tests.server.store.blobs import digest, label_set, put


async def test_label_sets_are_listed_oldest_first(catalog: Catalog) -> None:
    newer, older = await put(catalog, label_set("newer", 1700000000.25), label_set("older", 5.0))

    assert await catalog.label_sets() == [older, newer]
    assert await catalog.label_set(newer.digest) == newer
    with pytest.raises(LabelSetNotFoundError):
        await catalog.label_set(digest(b"unknown"))


async def test_a_second_put_changes_nothing(catalog: Catalog) -> None:
    (record,) = await put(catalog, label_set("a"))
    await catalog.transition(record.digest, expected=State.STAGED, new=State.PUBLISHED)
    await catalog.put_label_set(replace(record, created_at=9.0))

    assert await catalog.label_set(record.digest) == replace(record, state=State.PUBLISHED)


async def test_life_of_a_label_set(catalog: Catalog) -> None:
    first, second = await put(catalog, label_set("first"), label_set("second", 2.0))
    for record in (first, second):
        await catalog.transition(
            record.digest, expected=State.STAGED, new=State.PUBLISHED, tag=Tag("latest")
        )
        assert await catalog.tags() == {"latest": record.digest}
    await catalog.transition(
        first.digest, expected=State.PUBLISHED, new=State.PUBLISHED, tag=Tag("stable")
    )
    assert await catalog.tags() == {"latest": second.digest, "stable": first.digest}

    await catalog.transition(second.digest, expected=State.PUBLISHED, new=State.RETIRED)
    assert await catalog.tags() == {"stable": first.digest}
    assert [record.state for record in await catalog.label_sets()] == ["published", "retired"]


async def test_steps_that_do_not_exist(catalog: Catalog) -> None:
    (record,) = await put(catalog, label_set("a"))
    with pytest.raises(TransitionError, match="published; look at its state and decide again"):
        await catalog.transition(record.digest, expected=State.PUBLISHED, new=State.RETIRED)
    with pytest.raises(LabelSetNotFoundError):
        await catalog.transition(
            digest(b"unknown"), expected=State.STAGED, new=State.PUBLISHED, tag=Tag("t")
        )
    with pytest.raises(InvalidRequestError):
        await catalog.transition(
            record.digest, expected=State.STAGED, new=State.RETIRED, tag=Tag("t")
        )
    assert await catalog.label_set(record.digest) == record
    state = await catalog.label_set_state(record.digest)
    await catalog.transition(record.digest, expected=state, new=State.RETIRED)
    assert await catalog.label_set_state(record.digest) is State.RETIRED
    assert await catalog.tags() == {}


async def test_of_racing_transitions_one_wins(catalog: Catalog) -> None:
    (record,) = await put(catalog, label_set("a"))
    outcomes = await asyncio.gather(
        *(
            catalog.transition(
                record.digest, expected=State.STAGED, new=State.PUBLISHED, tag=Tag(tag)
            )
            for tag in "abcdefgh"
        ),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 1
    assert sum(isinstance(outcome, TransitionError) for outcome in outcomes) == 7
    assert await catalog.tags() == {"abcdefgh"[outcomes.index(None)]: record.digest}


async def test_the_state_alone(catalog: Catalog) -> None:
    record = label_set("a")
    with pytest.raises(LabelSetNotFoundError):
        await catalog.label_set_state(record.digest)
    await catalog.put_label_set(record)

    assert await catalog.label_set_state(record.digest) is State.STAGED


async def test_references_are_tags_or_digests(catalog: Catalog) -> None:
    (record,) = await put(catalog, label_set("a"))
    await catalog.transition(
        record.digest, expected=State.STAGED, new=State.PUBLISHED, tag=Tag("a:v1")
    )
    assert await catalog.resolve("a:v1") == record.digest
    assert await catalog.resolve(record.digest) == record.digest
    with pytest.raises(LabelSetNotFoundError, match="no label set has the tag 'a:v2'"):
        await catalog.resolve("a:v2")


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.catalog.tags()


async def test_changes_of_state_are_heard(catalog: Catalog) -> None:
    (record,) = await put(catalog, label_set("a"))
    async with contextlib.aclosing(catalog.changes()) as changes:
        assert await anext(changes) is None
        await catalog.transition(record.digest, expected=State.STAGED, new=State.PUBLISHED)
        assert await anext(changes) == record.digest
        with pytest.raises(TransitionError):
            await catalog.transition(record.digest, expected=State.STAGED, new=State.PUBLISHED)
        await catalog.transition(record.digest, expected=State.PUBLISHED, new=State.RETIRED)
        assert await anext(changes) == record.digest
        assert (await catalog.label_set(record.digest)).state is State.RETIRED
