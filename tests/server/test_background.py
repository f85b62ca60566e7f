"""Tasks end with their block, even if a library drops what tells them to."""

import asyncio

import pytest

from labelcast_server.background import background, end


async def drops_cancellations(count: int, ended: asyncio.Event) -> None:
    """As `asyncio.wait_for` of Python 3.11 does in an unlucky moment."""
    for _ in range(count):
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue
    try:
        await asyncio.sleep(3600)
    finally:
        ended.set()


@pytest.mark.parametrize("dropped", [0, 1, 2])
async def test_a_task_ends_although_cancellations_are_dropped(dropped: int) -> None:
    ended = asyncio.Event()
    async with background(drops_cancellations(dropped, ended)):
        await asyncio.sleep(0.01)
    assert ended.is_set()


async def test_the_error_of_the_block_is_the_one_that_is_raised() -> None:
    async def fails() -> None:
        raise RuntimeError("beside")

    async def block() -> None:
        async with background(fails()):
            await asyncio.sleep(0.01)
            raise ValueError("in it")

    with pytest.raises(ValueError, match="in it"):
        await block()


async def test_what_has_ended_is_left_alone() -> None:
    done = asyncio.create_task(asyncio.sleep(0))
    await done
    await end(done)
    await end()
    assert not done.cancelled()


async def test_a_cancellation_dropped_by_wait_for() -> None:
    result: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def waits() -> None:
        while True:
            await asyncio.wait_for(result, 3600)
            await asyncio.sleep(3600)

    waiting = asyncio.create_task(waits())
    await asyncio.sleep(0.01)
    result.set_result(None)
    await end(waiting)
    assert waiting.cancelled()
