"""`ByteBudget`: first come, first served, and every byte comes back."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast_server.byte_budget import ByteBudget


async def turns() -> None:
    """Let every task run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_first_come_first_served() -> None:
    budget, order = ByteBudget(10), list[str]()

    async def want(name: str, size: int) -> None:
        await budget.take(size)
        order.append(name)

    await budget.take(8)
    tasks = [asyncio.create_task(want(*one)) for one in (("large", 9), ("small", 1), ("tiny", 1))]
    await turns()
    # The small one would fit, but not before those who came earlier.
    assert order == []
    assert budget.held == 8
    budget.give(8)
    await turns()
    assert order == ["large", "small"]
    budget.give(9)
    await asyncio.gather(*tasks)
    assert order == ["large", "small", "tiny"]
    budget.give(1)
    budget.give(1)
    assert budget.idle


async def test_what_is_larger_than_the_whole_waits_until_nothing_is_held() -> None:
    budget = ByteBudget(10)
    await budget.take(1)
    huge = asyncio.create_task(budget.take(1000))
    await turns()
    assert not huge.done()
    budget.give(1)
    await huge
    assert budget.held == 1000
    assert not budget.try_take(1)
    budget.give(1000)
    assert budget.try_take(10)


async def test_trying_neither_waits_nor_overtakes() -> None:
    budget = ByteBudget(10)
    assert budget.try_take(4)
    assert budget.try_take(6)
    assert not budget.try_take(1)
    assert budget.held == 10
    budget.give(6)
    waiting = asyncio.create_task(budget.take(7))
    await turns()
    # Room for 6, but somebody waits for 7.
    assert not budget.try_take(1)
    assert not budget.idle
    budget.give(4)
    await waiting
    assert budget.held == 7
    assert budget.try_take(3)


async def test_who_gives_up_holds_nothing_and_lets_the_next_in() -> None:
    budget = ByteBudget(10)
    await budget.take(8)
    large, small = asyncio.create_task(budget.take(9)), asyncio.create_task(budget.take(2))
    await turns()
    assert not small.done()
    large.cancel()
    await small
    assert large.cancelled()
    assert budget.held == 10


async def test_who_gives_up_at_their_turn_gives_it_back() -> None:
    budget = ByteBudget(10)
    await budget.take(10)
    first, second = asyncio.create_task(budget.take(10)), asyncio.create_task(budget.take(10))
    await turns()
    # Admitted and cancelled before it runs again.
    budget.give(10)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    assert budget.held == 10
    budget.give(10)
    assert budget.idle


async def test_a_time_limit_ends_the_waiting() -> None:
    budget = ByteBudget(10)
    await budget.take(10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await budget.take(1)
    budget.give(10)
    assert budget.idle


@given(
    sizes=st.lists(st.integers(1, 15), min_size=1, max_size=30),
    impatient=st.lists(st.integers(0, 29), unique=True),
)
def test_nothing_is_lost_whatever_happens(sizes: list[int], impatient: list[int]) -> None:
    """Some are cancelled at any moment; in the end nothing is held, and the limit was kept."""
    limit, most = 10, 0

    async def scenario() -> None:
        nonlocal most
        budget = ByteBudget(limit)

        async def hold(size: int) -> None:
            nonlocal most
            await budget.take(size)
            try:
                most = max(most, budget.held if budget.held != size else 0)
                await asyncio.sleep(0)
            finally:
                budget.give(size)

        tasks = [asyncio.create_task(hold(size)) for size in sizes]
        for number in impatient:
            if number < len(tasks):
                await asyncio.sleep(0)
                tasks[number].cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert budget.idle
        assert budget.held == 0

    asyncio.run(scenario())
    assert most <= limit


async def test_who_waits_gets_room_when_there_is_more_of_it() -> None:
    budget = ByteBudget(10)
    await budget.take(8)
    waiting = asyncio.create_task(budget.take(8))
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.resize(16)
    await waiting
    assert budget.held == 16
    budget.resize(4)
    budget.give(8)
    assert not budget.try_take(1)
