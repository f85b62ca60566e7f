"""Rows in the order of the request, whoever finds them; a large request leaves the loop alone."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast import wire
from labelcast.answer_subject import LabelSubject
from labelcast.errors import ViewNotFoundError
from labelcast.identifiers import tag_from
from labelcast.label_set import GridIndex, ViewIndex
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.representation import Representation
from labelcast.views import Views
from labelcast_server.decoder.client import DecodedRows, PackedRows
from labelcast_server.delivery.block import Block
from labelcast_server.delivery.block_reader import BlockReader
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.delivery.cache.tables import Mapped, SharedTables
from labelcast_server.delivery.open_label_set import OpenLabelSet
from labelcast_server.delivery.service import LabelService
from labelcast_server.delivery.unsent_room import UnsentRoom
from labelcast_server.store.memory import memory_store
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import push, services_over

CODES = Representation.codes()
MESSAGE_BYTES = 2**18


class NoDecoder:
    """Codes go out as they lie: nobody decodes."""

    async def decode(self, wanted: PackedRows) -> DecodedRows:
        raise AssertionError

    @property
    def pings(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        raise AssertionError


class WatchedIndex(GridIndex):
    """Remembers how many rows the loop and other threads have asked it for."""

    asked: dict[bool, int]

    def rows(self, views: Views) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        on_loop = threading.current_thread() is threading.main_thread()
        self.asked[on_loop] = max(self.asked.get(on_loop, 0), len(views))
        return super().rows(views)


@dataclass
class Served:
    label_set: LabelSetDirectory
    opened: OpenLabelSet
    index: WatchedIndex
    reader: BlockReader
    room: UnsentRoom


@pytest.fixture
async def served(tmp_path: Path) -> Served:
    label_set, _ = make_label_set(tmp_path / "label-set", num_samples=9000, num_seeds=3)
    store = memory_store()
    await push(store, label_set)
    await services_over(store).publisher.publish(label_set.digest, tag_from("mine:v1"))
    (tmp_path / "cache").mkdir()
    directory = CacheDirectory(tmp_path / "cache")
    chunks = ChunkCache(store.blobs, directory)
    service = LabelService(
        store,
        chunks,
        SharedTables(directory),
        NoDecoder(),
        message_bytes=MESSAGE_BYTES,
        unsent_bytes=2**26,
    )
    opened = await service.label_set(label_set.digest)
    (plain,) = opened.index.segments
    index = WatchedIndex(plain.sample_ids, plain.seeds, plain.row_order)
    index.asked = {}
    tables = replace(opened.tables.get(), index=ViewIndex([index]))
    opened = replace(opened, tables=Mapped(tables, ()))
    room = UnsentRoom(2**26)
    reader = BlockReader(opened, CODES, chunks, NoDecoder(), message_bytes=MESSAGE_BYTES, room=room)
    return Served(label_set, opened, index, reader, room)


def shuffled(served: Served, count: int) -> Views:
    views = served.label_set.index().segments[0].views()
    return views[np.random.default_rng(1).permutation(len(views))[:count]]


async def read(served: Served, views: Views, blocks: list[Block]) -> None:
    """Add every block to `blocks` as it comes."""
    async with contextlib.aclosing(served.reader.read(requests(views))) as reading:
        async for block in reading:
            blocks += [block]


async def requests(*views: Views) -> AsyncIterator[wire.AskedViews]:
    for each in views:
        yield wire.AskedViews(wire.views_to_proto(each))


@pytest.mark.parametrize(("count", "on_the_loop"), [(100, True), (26_000, False)])
async def test_rows_come_in_order(served: Served, count: int, on_the_loop: bool) -> None:
    views = shuffled(served, count)
    blocks: list[Block] = []
    await read(served, views, blocks)
    assert sum(block.count for block in blocks) == count
    rows = served.label_set.gather(views)
    assert b"".join(block.payload for block in blocks) == rows.tobytes()
    subject, first = LabelSubject(served.label_set.digest, CODES), 0
    for block in blocks:
        assert block.subject_crc32 == subject.checksum(views[first : first + block.count])
        first += block.count
    assert served.index.asked[True] <= 4096
    assert (False in served.index.asked) is not on_the_loop
    assert served.room.idle


async def test_the_row_that_is_lacking_is_named_after_those_before_it(served: Served) -> None:
    views = shuffled(served, 27_000)
    seeds = views.seeds.copy()
    seeds[26_000] = 99
    views = Views(views.sample_ids, seeds)
    delivered: list[Block] = []
    with pytest.raises(ViewNotFoundError) as refused:
        await read(served, views, delivered)
    assert refused.value.facts["row"] == "26000"
    assert 0 < sum(block.count for block in delivered) < 26_000
    assert served.room.idle


async def test_who_goes_while_rows_are_found_leaves_nothing_behind(served: Served) -> None:
    for turns in range(1, 12):
        reading = asyncio.create_task(read(served, shuffled(served, 27_000), []))
        for _ in range(turns):
            await asyncio.sleep(0)
        # With many turns it may be through already.
        left = reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled() is left
        assert served.room.idle
