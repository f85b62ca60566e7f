"""`Prefetch`: in order, bounded, and gone when it is closed."""

import threading
from collections.abc import Callable, Iterator

import pytest

from labelcast.errors import InvalidRequestError
from labelcast.torch.data.prefetch import Prefetch

WAIT_SECONDS = 20


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


class Source:
    """Numbers; says how many it has given and whether it was closed."""

    def __init__(self, count: int, *, fails_at: int | None = None) -> None:
        self.given = 0
        self.closed = threading.Event()
        self.asked_for = [threading.Event() for _ in range(count + 1)]
        self._count, self._fails_at = count, fails_at

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self._count):
                self.asked_for[number].set()
                if number == self._fails_at:
                    raise ValueError(f"no number {number}")
                self.given += 1
                yield number
            self.asked_for[self._count].set()
        finally:
            self.closed.set()


@pytest.mark.parametrize("depth", [1, 2, 100])
@pytest.mark.parametrize("count", [0, 1, 57])
def test_items_come_in_order(count: int, depth: int) -> None:
    with Prefetch(range(count), depth) as prefetched:
        assert list(prefetched) == list(range(count))


def test_it_runs_ahead_but_no_further_than_its_depth() -> None:
    source = Source(100)
    with Prefetch(source, 3) as prefetched:
        assert source.asked_for[3].wait(WAIT_SECONDS)  # three ready and one in hand
        items = iter(prefetched)
        assert next(items) == 0
        assert source.asked_for[4].wait(WAIT_SECONDS)
        assert source.given <= 5
        assert not source.asked_for[5].is_set()


@pytest.mark.parametrize("depth", [1, 5])
def test_an_exception_comes_where_its_item_would_have(depth: int) -> None:
    got: list[int] = []
    with Prefetch(Source(9, fails_at=4), depth) as prefetched:
        with pytest.raises(ValueError, match="no number 4"):
            got.extend(prefetched)
        with pytest.raises(ValueError, match="no number 4"):
            next(iter(prefetched))
    assert got == [0, 1, 2, 3]


def test_items_before_an_exception_are_delivered() -> None:
    with Prefetch(Source(9, fails_at=4), 2) as prefetched:
        items = iter(prefetched)
        assert [next(items) for _ in range(4)] == [0, 1, 2, 3]
        with pytest.raises(ValueError, match="no number 4"):
            next(items)


class NoIterator:
    def __iter__(self) -> Iterator[int]:
        raise RuntimeError("cannot even begin")


def test_a_source_that_cannot_be_iterated_is_an_exception_too() -> None:
    with (
        Prefetch(NoIterator(), 2) as prefetched,
        pytest.raises(RuntimeError, match="cannot even begin"),
    ):
        list(prefetched)


def test_iterating_again_goes_on_and_ends() -> None:
    with Prefetch(range(5), 2) as prefetched:
        assert next(iter(prefetched)) == 0
        assert list(prefetched) == [1, 2, 3, 4]
        assert list(prefetched) == []


@pytest.mark.parametrize("consumed", [0, 1, 7])
def test_closing_frees_a_source_that_waits_for_room(consumed: int) -> None:
    source = Source(1000)
    prefetched = Prefetch(source, 2)
    items = iter(prefetched)
    for _ in range(consumed):
        next(items)
    assert source.asked_for[consumed + 2].wait(WAIT_SECONDS)
    prefetched.close()
    assert source.closed.is_set()
    assert source.given < 1000
    prefetched.close()
    assert list(prefetched) == []


def test_closing_wakes_a_consumer_that_waits() -> None:
    may_go_on, waiting = threading.Event(), threading.Event()
    got: list[int] = []

    def slow() -> Iterator[int]:
        yield 1
        waiting.set()
        may_go_on.wait(WAIT_SECONDS)
        yield 2

    prefetched = Prefetch(slow(), 1)
    consumer = threading.Thread(target=lambda: got.extend(prefetched))
    consumer.start()
    assert waiting.wait(WAIT_SECONDS)
    closer = threading.Thread(target=prefetched.close)
    closer.start()
    may_go_on.set()
    closer.join(WAIT_SECONDS)
    consumer.join(WAIT_SECONDS)
    assert not consumer.is_alive()
    assert got in ([], [1], [1, 2])


def test_an_abandoned_with_block_closes() -> None:
    source = Source(1000)

    def break_off() -> None:
        with Prefetch(source, 2) as prefetched:
            assert next(iter(prefetched)) == 0
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert source.closed.is_set()


def test_none_is_an_item() -> None:
    with Prefetch([None, None], 1) as prefetched:
        assert list(prefetched) == [None, None]


@pytest.mark.parametrize("depth", [0, -1])
def test_a_depth_without_bound_is_refused(depth: int) -> None:
    make: Callable[[], object] = lambda: Prefetch(range(3), depth)  # noqa: E731
    with pytest.raises(InvalidRequestError, match="at least 1"):
        make()
