"""Who is decoded next, and how much waits: `labelcast_server.decoder.fair_queue`."""

import asyncio
import contextlib
from dataclasses import dataclass

import pytest

from labelcast_server.byte_budget import ByteBudget
from labelcast_server.decoder.fair_queue import (
    TURN_LABEL_BYTES,
    TURN_ROWS,
    TURN_SECONDS,
    FairQueue,
    Pace,
)


@dataclass(frozen=True, eq=False)
class Rows:
    name: str
    count: int


def taken(queue: FairQueue[str, Rows], group: str, rows: int) -> list[tuple[str, int, int]]:
    return [(part.job.name, part.start, part.stop) for part in queue.take(group, rows)]


async def test_groups_take_turns_and_jobs_of_a_group_keep_their_order() -> None:
    queue = FairQueue[str, Rows]()
    for number in range(3):
        queue.put("slow", Rows(f"s{number}", 10))
    for number in range(3):
        queue.put("fast", Rows(f"f{number}", 10))
    turns = []
    for _ in range(4):
        group = await queue.wait()
        turns.append((group, taken(queue, group, 15)))
    assert turns == [
        ("slow", [("s0", 0, 10), ("s1", 0, 5)]),
        ("fast", [("f0", 0, 10), ("f1", 0, 5)]),
        ("slow", [("s1", 5, 10), ("s2", 0, 10)]),
        ("fast", [("f1", 5, 10), ("f2", 0, 10)]),
    ]
    assert len(queue) == 0


async def test_a_late_group_waits_for_one_turn_of_each_other() -> None:
    queue = FairQueue[str, Rows]()
    queue.put("a", Rows("a", 1000))
    queue.put("b", Rows("b", 1000))
    queue.take("a", 10)
    queue.put("late", Rows("late", 5))
    order = []
    for _ in range(4):
        order.append(await queue.wait())
        queue.take(order[-1], 10)
    assert order == ["b", "a", "late", "b"]


async def test_many_small_jobs_share_a_turn() -> None:
    queue = FairQueue[str, Rows]()
    for number in range(100):
        queue.put("a", Rows(str(number), 128))
    assert len(queue.take("a", 8192)) == 64


async def test_an_urgent_job_comes_next() -> None:
    queue = FairQueue[str, Rows]()
    queue.put("a", Rows("a", 1000))
    queue.put("b", Rows("b", 1000))
    queue.put("probe", Rows("probe", 1), next_in_turn=True)
    assert await queue.wait() == "probe"


async def test_every_row_is_taken_exactly_once_whatever_the_turns() -> None:
    queue = FairQueue[str, Rows]()
    sizes = {"a": 1, "b": 17, "c": 8, "d": 100}
    for name, count in sizes.items():
        queue.put("g", Rows(name, count))
    seen: dict[str, list[int]] = {name: [] for name in sizes}
    for rows in (1, 1, 5, 30, 2, 1000):
        for name, start, stop in taken(queue, "g", rows):
            seen[name].extend(range(start, stop))
    assert seen == {name: list(range(count)) for name, count in sizes.items()}
    assert len(queue) == 0


@pytest.mark.parametrize("dropped", [0, 1, 2])
async def test_dropping_a_job_shifts_no_other(dropped: int) -> None:
    queue = FairQueue[str, Rows]()
    jobs = [Rows(str(number), 10) for number in range(3)]
    for job in jobs:
        queue.put("g", job)
    assert taken(queue, "g", 4) == [("0", 0, 4)]
    queue.drop("g", jobs[dropped])
    queue.drop("g", jobs[dropped])
    expected = [("0", 4, 10), ("1", 0, 10), ("2", 0, 10)]
    assert taken(queue, "g", 100) == [part for part in expected if part[0] != str(dropped)]


async def test_a_queue_that_has_been_emptied_waits() -> None:
    queue = FairQueue[str, Rows]()
    job = Rows("a", 10)
    queue.put("g", job)
    queue.drop("g", job)
    waiting = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.put("h", Rows("b", 1))
    assert await waiting == "h"


def test_a_turn_never_holds_more_labels_than_its_bound() -> None:
    for classes in (10, 1000, 21_841, 10**9):
        pace = Pace(4 * classes)
        for _ in range(20):
            assert pace.rows == 1 or pace.rows * 4 * classes <= TURN_LABEL_BYTES
            assert 1 <= pace.rows <= TURN_ROWS
            pace.note(pace.rows, 1e-9)
        assert pace.rows == max(1, min(TURN_ROWS, TURN_LABEL_BYTES // (4 * classes)))


@pytest.mark.parametrize("seconds_per_row", [1e-7, 1e-5, 1e-3, 0.03, 10.0])
def test_turns_settle_near_their_time(seconds_per_row: float) -> None:
    pace = Pace(4000)
    for _ in range(20):
        pace.note(pace.rows, pace.rows * seconds_per_row)
    assert pace.rows == 1 or pace.rows * seconds_per_row <= 1.01 * TURN_SECONDS
    assert pace.rows >= min(TURN_ROWS, 0.5 * TURN_SECONDS / seconds_per_row)


def test_a_turn_that_was_not_full_says_nothing_of_larger_ones() -> None:
    pace = Pace(4000)
    before = pace.rows
    pace.note(1, 1e-6)
    assert pace.rows == before


async def test_a_budget_lets_in_in_order_and_one_that_is_larger_than_all() -> None:
    budget, order = ByteBudget(100), []

    async def hold(name: str, size: int) -> None:
        await budget.take(size)
        order.append(name)

    await hold("a", 60)
    others = []
    for name, size in [("b", 60), ("c", 10), ("huge", 1000), ("d", 100)]:
        others.append(asyncio.create_task(hold(name, size)))
        await asyncio.sleep(0)
    assert order == ["a"]  # c would fit, but b came first
    for size, now in [(60, "abc"), (60, "abc"), (10, "abch"), (1000, "abchd")]:
        budget.give(size)
        for _ in range(3):
            await asyncio.sleep(0)
        assert "".join(name[0] for name in order) == now
    await asyncio.gather(*others)
    budget.give(100)
    assert budget.idle


@pytest.mark.parametrize("admitted", [False, True])
async def test_leaving_a_budget_holds_nothing(admitted: bool) -> None:
    budget = ByteBudget(100)
    await budget.take(100)
    leaving = asyncio.create_task(budget.take(50))
    behind = asyncio.create_task(budget.take(20))
    await asyncio.sleep(0)
    if admitted:
        budget.give(100)
    leaving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await leaving
    if not admitted:
        budget.give(100)
    await behind
    assert budget.held == 20
    budget.give(20)
    assert budget.idle
