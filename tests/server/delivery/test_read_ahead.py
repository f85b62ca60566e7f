"""Units come out in order, bounded in number and bytes, whatever fails, stalls or leaves."""

import asyncio
import contextlib

import numpy as np
import pytest

from labelcast import Views, wire
from labelcast.errors import OverloadedError, StorageError
from labelcast_server.delivery import pace as pacing
from labelcast_server.delivery import unsent_room
from labelcast_server.delivery.block import Block
from labelcast_server.delivery.pace import Pace
from labelcast_server.delivery.read_ahead import ReadAhead
from labelcast_server.delivery.unit import AskedRows
from labelcast_server.delivery.unit_sizes import UnitSizes
from labelcast_server.delivery.unsent_room import UnsentRoom

# A row takes a whole first unit, so that units grow from one row to four.
ROW_BYTES = 2**14
SIZES = UnitSizes(row_bytes=ROW_BYTES, message_rows=2, unit_rows=4)
ROOM = 2**24


def asked(first: int, count: int) -> wire.AskedViews:
    views = Views.of(np.arange(first, first + count), 7)
    return wire.AskedViews(wire.views_to_proto(views))


class Work:
    """Blocks that say which rows they hold, prepared when they are told to be."""

    def __init__(self, *, failing: int | None = None) -> None:
        self.begun: list[list[int]] = []
        self.ready = asyncio.Event()
        self.failing = failing

    async def prepare(
        self, request: AskedRows, start: int, stop: int, message_rows: int
    ) -> list[Block]:
        rows = request[start:stop].sample_ids.tolist()
        self.begun.append(rows)
        await self.ready.wait()
        if self.failing in rows:
            raise StorageError(f"row {self.failing}")
        assert rows[0] % 100 == start
        return [
            Block(len(some), bytes(some), 0, 0)
            for some in (rows[n : n + message_rows] for n in range(0, len(rows), message_rows))
        ]


def line_of(work: Work, room: UnsentRoom) -> ReadAhead:
    return ReadAhead(work.prepare, Pace(SIZES, room), room)


async def fill(line: ReadAhead, *counts: int, error: Exception | None = None) -> None:
    for number, count in enumerate(counts):
        await line.put(asked(100 * number, count))
    await line.end(error)


async def rest(line: ReadAhead) -> list[int]:
    rows: list[int] = []
    while await line.has_next():
        rows += (await line.take()).payload
    return rows


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_three_units_are_under_way_and_come_in_order() -> None:
    room, work = UnsentRoom(ROOM), Work()
    line = line_of(work, room)
    filling = asyncio.create_task(fill(line, 20, 5))
    await turns()
    assert work.begun == [[0], [1], [2]]
    first = asyncio.ensure_future(rest(line))
    await turns()
    assert work.begun == [[0], [1], [2]]
    work.ready.set()
    assert await first == [*range(20), *range(100, 105)]
    assert max(map(len, work.begun)) == 4
    await filling
    line.close()
    assert room.idle


async def test_whoever_finds_no_room_is_told_to_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsent_room, "_ROOM_SECONDS", 0.05)
    room = UnsentRoom(100)
    await room.proven.take(50)
    with pytest.raises(OverloadedError, match="retry in a moment, or read faster"):
        await line_of(Work(), room).put(asked(0, 9))


async def test_unproven_streams_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long: the part that they share never stays taken."""
    monkeypatch.setattr(unsent_room, "_ROOM_SECONDS", 0.05)
    room, work = UnsentRoom(2 * ROW_BYTES), Work()
    lines = [line_of(work, room) for _ in range(3)]
    filling = [asyncio.create_task(fill(line, 6)) for line in lines]
    await asyncio.sleep(0.2)
    assert work.begun == [[0]]
    work.ready.set()
    assert await asyncio.gather(*map(rest, lines)) == [list(range(6))] * 3
    await asyncio.gather(*filling)
    for line in lines:
        line.close()
    assert room.idle


async def test_who_does_not_read_gives_room_back_and_goes_on_where_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pacing, "_UNPROVEN_SECONDS", 0.05)
    room, work = UnsentRoom(ROOM), Work()
    work.ready.set()
    line = line_of(work, room)
    filling = asyncio.create_task(fill(line, 20, 5))
    rows: list[int] = []
    for _ in range(6):
        assert await line.has_next()
        rows += (await line.take()).payload
    assert room.unproven.budget.held > 0
    await asyncio.sleep(0.2)
    begun = len(work.begun)
    assert room.unproven.budget.held == 0
    await asyncio.sleep(0.1)
    assert len(work.begun) == begun
    assert rows + await rest(line) == [*range(20), *range(100, 105)]
    # Little at first.
    assert len(work.begun[begun]) == 1
    await filling
    line.close()
    assert room.idle


@pytest.mark.parametrize("taken", range(1, 14))
async def test_a_stall_at_any_block_loses_and_repeats_nothing(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "_UNPROVEN_SECONDS", 0.01)
    room, work = UnsentRoom(ROOM), Work()
    work.ready.set()
    line = line_of(work, room)
    filling = asyncio.create_task(fill(line, 17, 3, 1))
    rows: list[int] = []
    while await line.has_next():
        rows += (await line.take()).payload
        taken -= 1
        if taken == 0:
            await asyncio.sleep(0.05)
    assert rows == [*range(17), *range(100, 103), 200]
    await filling
    line.close()
    assert room.idle


@pytest.mark.parametrize("failing", [0, 2])
async def test_an_error_comes_where_its_unit_would_have_come(failing: int) -> None:
    room, work = UnsentRoom(ROOM), Work(failing=failing)
    work.ready.set()
    line = line_of(work, room)
    filling = asyncio.create_task(fill(line, 3, error=OverloadedError("and then")))
    for number in range(failing):
        assert await line.has_next()
        assert (await line.take()).payload == bytes([number])
    assert await line.has_next()
    with pytest.raises(StorageError, match=f"row {failing}"):
        await line.take()
    await turns()
    line.close()
    await filling
    assert room.idle


async def test_the_end_says_why_after_the_last_unit() -> None:
    work = Work()
    work.ready.set()
    line = line_of(work, UnsentRoom(ROOM))
    await fill(line, 1, error=OverloadedError("no more"))
    assert await line.has_next()
    await line.take()
    with pytest.raises(OverloadedError, match="no more"):
        await line.has_next()
    line.close()


async def test_whoever_leaves_takes_everything_along() -> None:
    room, work = UnsentRoom(ROOM), Work()
    line = line_of(work, room)
    filling = asyncio.create_task(fill(line, 20))
    await turns()
    filling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await filling
    line.close()
    await turns()
    assert room.idle
