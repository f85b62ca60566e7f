"""A stall is a reply that is owed and waited for, for long; nothing else is."""

from labelcast.remote.streams.stalls import StallWatch


class Stream:
    """What the watch looks at."""

    def __init__(self) -> None:
        self.answered = 0
        self.owes_reply = True


def watching(stream: Stream) -> StallWatch:
    watch = StallWatch(stream, 10.0)
    watch.waiting = True
    assert not watch.look(100.0)
    return watch


def test_a_reply_that_is_owed_for_long_is_a_stall() -> None:
    watch = watching(Stream())
    assert not watch.look(109.0)
    assert watch.look(110.1)
    assert watch.stalled


def test_progress_starts_anew() -> None:
    stream = Stream()
    watch = watching(stream)
    stream.answered = 5
    assert not watch.look(115.0)
    assert not watch.look(124.0)
    assert watch.look(125.1)


def test_nothing_is_owed_where_nothing_was_asked_for() -> None:
    stream = Stream()
    stream.owes_reply = False
    watch = watching(stream)
    assert not watch.look(500.0)
    stream.owes_reply = True
    assert not watch.look(509.0)
    assert watch.look(510.1)


def test_a_consumer_that_is_slow_stalls_nothing() -> None:
    watch = watching(Stream())
    watch.waiting = False
    assert not watch.look(500.0)
    watch.waiting = True
    assert not watch.look(509.0)
    assert watch.look(510.1)
