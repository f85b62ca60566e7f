"""When a process counts as hanging, and when its supervisor cannot tell."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest

from labelcast_server.supervisor.plan import ProcessPlan
from labelcast_server.supervisor.roles import Listens, Role
from labelcast_server.supervisor.watching import Grace, WatchedProcess
from tests.e2e.running_service import eventually
from tests.server.supervisor.misbehaving import (
    beats_once,
    ends_at_once,
    leaves_a_task_that_never_ends,
)

ROUND_SECONDS = 0.2


@pytest.fixture
def plan(tmp_path: Path) -> ProcessPlan:
    return ProcessPlan(
        store_url="redis://127.0.0.1:1",
        host="127.0.0.1",
        grpc_port=1,
        admin_port=1,
        run_directory=tmp_path / "run",
        cache_directory=tmp_path / "cache",
        cache_bytes=None,
        admin_token="admin",
        read_token=None,
        allow_unsafe_store=False,
        devices=("cpu",),
        decoder_threads=1,
        drain_seconds=1.0,
        max_streams=1,
        unsent_bytes=1,
        log_level="error",
    )


@pytest.fixture
def silent(plan: ProcessPlan) -> Iterator[WatchedProcess]:
    """A process that was ready once and whose event loop has stood still since."""
    spawn = multiprocessing.get_context("spawn")
    process = WatchedProcess(Role("silent", beats_once, Listens.SOCKET), plan, spawn)
    process.start()
    try:
        eventually(lambda: process.is_ready, "it is ready")
        yield process
    finally:
        process.join(0)


def rounds(process: WatchedProcess, grace: Grace, start: float, seconds: float) -> float:
    """Look as the supervisor does, at times of our own, until it is dead; the last time."""
    now = start
    for number in range(round(seconds / ROUND_SECONDS)):
        now = start + number * ROUND_SECONDS
        grace.look(now)
        process.look(now, grace)
        if not process.is_alive:
            break
    return now


def test_a_silent_process_is_killed_after_ten_seconds(
    silent: WatchedProcess, caplog: pytest.LogCaptureFixture
) -> None:
    grace = Grace()
    # Times lie ahead of the clock: the only beat is older than any of them.
    now = rounds(silent, grace, grace.since, 9)
    assert silent.is_alive
    rounds(silent, grace, now, 5)
    assert not silent.is_alive
    assert "silent hangs" in caplog.text


def test_a_supervisor_that_was_stopped_itself_does_not_judge(silent: WatchedProcess) -> None:
    grace = Grace()
    now = rounds(silent, grace, grace.since, 5)
    # It was away for an hour, and so, for all it knows, were the others.
    now = rounds(silent, grace, now + 3600, 9)
    assert silent.is_alive
    rounds(silent, grace, now, 5)
    assert not silent.is_alive


def test_what_ends_at_once_is_started_again_with_growing_pauses(
    plan: ProcessPlan, caplog: pytest.LogCaptureFixture
) -> None:
    spawn = multiprocessing.get_context("spawn")
    process = WatchedProcess(Role("short-lived", ends_at_once, Listens.SOCKET), plan, spawn)
    process.start()
    grace = Grace()
    now = grace.since
    for pause in ("at once", "in 1 s", "in 2 s"):
        eventually(lambda: not process.is_alive, "it has ended")
        process.look(now, grace)
        assert caplog.messages[-1] == f"short-lived ended (status 0); it restarts {pause}"
        process.look(now + 30, grace)
    process.join(60)


def test_a_process_ends_although_a_task_does_not(
    plan: ProcessPlan, capfd: pytest.CaptureFixture[str]
) -> None:
    spawn = multiprocessing.get_context("spawn")
    role = Role("stubborn", leaves_a_task_that_never_ends, Listens.SOCKET)
    process = WatchedProcess(role, plan, spawn)
    process.start()
    eventually(lambda: not process.is_alive, "it has ended")
    assert "Timeout (0:00:10)!" in capfd.readouterr().err
    process.look(Grace().since, Grace())
    process.join(0)
