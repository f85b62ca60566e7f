"""Units come out in order, bounded in number and bytes, whatever fails or leaves."""

import asyncio
import contextlib

import pytest

from labelcast.errors import OverloadedError, StorageError
from labelcast_server.byte_budget import ByteBudget
from labelcast_server.delivery import read_ahead
from labelcast_server.delivery.read_ahead import ReadAhead


class Work:
    """Units that are prepared when they are told to be."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ready: dict[int, asyncio.Event] = {}

    async def unit(self, number: int) -> int:
        self.begun.append(number)
        await self.ready.setdefault(number, asyncio.Event()).wait()
        return number

    def finish(self, *numbers: int) -> None:
        for number in numbers:
            self.ready.setdefault(number, asyncio.Event()).set()


async def fill(line: ReadAhead[int], work: Work, count: int, size: int) -> None:
    for number in range(count):
        await line.put(work.unit(number), size)
    await line.end(None)


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_three_units_are_under_way_and_come_in_order() -> None:
    line, work = ReadAhead[int](ByteBudget(2**20)), Work()
    filling = asyncio.create_task(fill(line, work, 6, 10))
    await turns()
    assert work.begun == [0, 1, 2]
    work.finish(2, 1, 4, 3, 5)
    units = line.units()
    first = asyncio.ensure_future(anext(units))
    await turns()
    assert not first.done()
    work.finish(0)
    assert await first == 0
    await turns()
    # What is being sent counts until the next is asked for.
    assert work.begun == [0, 1, 2]
    assert [number async for number in units] == [1, 2, 3, 4, 5]
    await filling


async def test_who_has_units_in_line_waits_for_room_without_failing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(read_ahead, "_ROOM_SECONDS", 0.05)
    room, work = ByteBudget(25), Work()
    line = ReadAhead[int](room)
    filling = asyncio.create_task(fill(line, work, 4, 10))
    await asyncio.sleep(0.2)
    assert work.begun == [0, 1]
    with pytest.raises(OverloadedError, match="retry in a moment, or read faster"):
        await ReadAhead[int](room).put(work.unit(9), 10)
    work.finish(*range(4))
    assert [number async for number in line.units()] == [0, 1, 2, 3]
    await filling
    assert room.idle


@pytest.mark.parametrize("failing", [0, 2])
async def test_an_error_comes_where_its_unit_would_have_come(failing: int) -> None:
    room = ByteBudget(2**20)
    line = ReadAhead[int](room)

    async def unit(number: int) -> int:
        if number == failing:
            raise StorageError(f"unit {number}")
        return number

    async def filled() -> None:
        for number in range(3):
            await line.put(unit(number), 10)
        await line.end(OverloadedError("and then"))

    filling = asyncio.create_task(filled())
    units = line.units()
    assert [await anext(units) for _ in range(failing)] == list(range(failing))
    with pytest.raises(StorageError, match=f"unit {failing}"):
        await anext(units)
    await filling
    line.close()
    assert room.idle


async def test_the_end_says_why_after_the_last_unit() -> None:
    line, work = ReadAhead[int](ByteBudget(2**20)), Work()
    work.finish(0)
    await line.put(work.unit(0), 10)
    await line.end(OverloadedError("no more"))
    units = line.units()
    assert await anext(units) == 0
    with pytest.raises(OverloadedError, match="no more"):
        await anext(units)


async def test_whoever_leaves_takes_everything_along() -> None:
    room, work = ByteBudget(2**20), Work()
    line = ReadAhead[int](room)
    filling = asyncio.create_task(fill(line, work, 6, 10))
    await turns()
    filling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await filling
    line.close()
    await turns()
    assert room.idle
