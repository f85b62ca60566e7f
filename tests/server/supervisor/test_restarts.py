"""How soon what has died is started again."""

from labelcast_server.supervisor.restarts import Restarts


def test_pauses_grow_up_to_half_a_minute_and_never_end() -> None:
    restarts = Restarts()
    pauses = [restarts.pause_after(1.0) for _ in range(2000)]
    assert pauses[:8] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert set(pauses[8:]) == {30}


def test_a_minute_of_life_forgives() -> None:
    restarts = Restarts()
    assert [restarts.pause_after(59.0) for _ in range(3)] == [0, 1, 2]
    assert [restarts.pause_after(seconds) for seconds in (60.0, 1.0)] == [0, 1]
