"""A conversion that is killed at any point loses nothing, and is done by the next start."""

import os
import signal
import sys
import time
from itertools import count
from pathlib import Path

import psutil
import pytest

from labelcast_server.store.embedded.conversion import Conversion
from labelcast_server.store.embedded.data_mark import read_mark
from labelcast_server.store.embedded.process import EmbeddedRedis
from tests.server.store.server_data import (
    GOLDEN,
    assert_complete,
    assert_settled,
    contents,
    put,
)

CHANGES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "subprocess.Popen"}


@pytest.fixture(autouse=True)
def only_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Valkey alone, whatever is on PATH."""
    monkeypatch.setenv("PATH", "/nowhere")


def start_and_die(data_dir: Path, at: int) -> bool:
    """Start a service's server, and be killed before change number `at` of a file there.

    Returns:
        Whether there were so many changes.
    """
    child = os.fork()
    if child == 0:
        seen = count()

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event not in CHANGES or str(data_dir) not in str(arguments):
                return
            if next(seen) == at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        EmbeddedRedis(data_dir).start()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def end_servers(directory: Path) -> None:
    """Kill the server that a killed service has left, as a power cut does."""
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "valkey-server":
            try:
                if Path(process.cwd()) == directory:
                    process.kill()
                    process.wait()
            except psutil.Error:
                continue


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step"), [("redis-6.2", 1), ("redis-7.0", 4)])
def test_a_service_may_be_killed_before_any_change(tmp_path: Path, name: str, step: int) -> None:
    for at in count(step=step):
        data_dir = tmp_path / f"{at}"
        directory = put(name, data_dir)
        killed = start_and_die(data_dir, at)
        if at % 2:
            end_servers(directory)
        if at % 3:
            # Killed again while the first conversion is undone, or the second one goes on.
            start_and_die(data_dir, at // 3)
        with EmbeddedRedis(data_dir) as embedded:
            assert_complete(embedded, name)
        assert_settled(data_dir)
        if not killed:
            break
    assert at > 20


@pytest.mark.slow
@pytest.mark.parametrize("milliseconds", [0, 2, 5, 10, 20, 40])
def test_a_server_may_be_killed_while_it_converts(tmp_path: Path, milliseconds: int) -> None:
    directory = put("redis-6.2", tmp_path)
    child = os.fork()
    if child == 0:

        def hook(event: str, _: tuple[object, ...]) -> None:
            # Once the server runs, its owner does nothing but wait for it.
            if event == "socket.connect":
                time.sleep(milliseconds / 1000)
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        EmbeddedRedis(tmp_path).start()
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    end_servers(directory)
    mark = read_mark(directory)
    assert mark is not None
    assert mark.converting_from is not None

    Conversion(directory).restore()
    assert contents(directory) == contents(GOLDEN / "redis-6.2")
    with EmbeddedRedis(tmp_path) as embedded:
        assert_complete(embedded, "redis-6.2")
