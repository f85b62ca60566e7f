"""What dies again and again, or hangs, is replaced; whatever does not need it goes on."""

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from labelcast import Representation
from labelcast_server.rpc.probe import CODES_SERVICE_NAME, is_serving
from tests.e2e.accidents import read_with_an_accident
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.running_service import (
    RunningService,
    eventually,
    is_alive,
    run_command,
    running_service,
)

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()


@contextmanager
def codes_going_on(service: RunningService, known: KnownLabelSet) -> Iterator[None]:
    """Streams of codes all the while, without patience; any failure ends the test."""
    stop, failures, streams = threading.Event(), list[Exception](), list[int]()

    def run() -> None:
        try:
            with service.client(reconnect_seconds=0) as client:
                label_set = client.open("dense")
                while not stop.is_set():
                    done = 0
                    for batch in client.stream(label_set, known.views.batches(500), CODES):
                        known.check(batch, np.arange(done, done + len(batch.rows)), CODES)
                        done += len(batch.rows)
                    streams.append(done)
                    stop.wait(0.05)
        except Exception as error:  # noqa: BLE001 - told by the test's own thread
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        eventually(lambda: bool(failures or streams), "codes are delivered")
        yield
        seen = len(streams)
        eventually(lambda: bool(failures) or len(streams) > seen + 1, "codes go on")
    finally:
        stop.set()
        thread.join()
    assert failures == []
    assert set(streams) == {len(known.views)}


def children(service: RunningService) -> set[psutil.Process]:
    return {each for each in psutil.Process(service.process.pid).children() if is_alive(each)}


@pytest.mark.timeout(300)
def test_codes_go_on_while_the_decoder_dies_again_and_again(
    fragile: RunningService, dense: KnownLabelSet
) -> None:
    decoder, started_before = fragile.processes().decoder, set[psutil.Process]()
    others, ended_before = children(fragile) - {decoder}, fragile.log().count("decoder-0 ended")
    with codes_going_on(fragile, dense):
        for _ in range(6):
            started_before.add(decoder)
            # While it is still importing, or later: a death is a death.
            decoder.kill()
            eventually(lambda: children(fragile) - others - started_before != set(), "a successor")
            (decoder,) = children(fragile) - others
        eventually(lambda: is_serving(fragile.grpc, timeout_seconds=5), "labels decode again")
    with fragile.client() as client:
        at = np.arange(1000)
        dense.check(client.labels(client.open("dense"), dense.views[at], LOGITS), at, LOGITS)
    assert len(started_before) == 6
    assert fragile.log().count("decoder-0 ended") == ended_before + 6


@pytest.mark.timeout(300)
def test_a_decoder_that_hangs_is_replaced(fragile: RunningService, dense: KnownLabelSet) -> None:
    decoder = fragile.processes().decoder
    with fragile.client(rows_in_flight=300) as client, codes_going_on(fragile, dense):
        read_with_an_accident(client, dense, "dense", LOGITS, decoder.suspend)
    assert "decoder-0 hangs" in fragile.log()
    assert not is_alive(decoder)


@pytest.mark.timeout(300)
def test_a_worker_that_hangs_is_replaced(fragile: RunningService, dense: KnownLabelSet) -> None:
    (worker,) = fragile.processes().workers
    with fragile.client(rows_in_flight=300) as client:
        read_with_an_accident(client, dense, "dense", LOGITS, worker.suspend)
    assert "io-worker-0 hangs" in fragile.log()
    assert not is_alive(worker)


def test_an_admin_process_that_hangs_is_replaced(fragile: RunningService) -> None:
    admin = fragile.processes().admin
    admin.suspend()
    eventually(lambda: "admin hangs" in fragile.log(), "it is noticed")
    eventually(fragile.admin_answers, "another answers")
    assert not is_alive(admin)


def codes_are_served(service: RunningService) -> bool:
    return is_serving(service.grpc, timeout_seconds=5, name=CODES_SERVICE_NAME) is True


@pytest.mark.timeout(300)
def test_health_tells_codes_from_labels(fragile: RunningService) -> None:
    processes = fragile.processes()
    assert processes.redis is not None
    # As long as the supervisor sleeps, nobody replaces the decoder.
    processes.supervisor.suspend()
    try:
        processes.decoder.suspend()
        eventually(lambda: not is_serving(fragile.grpc, timeout_seconds=5), "no label decodes")
        ended = run_command("health", "--address", fragile.grpc)
        assert (ended.returncode, "is not serving" in ended.stderr) == (1, True)
        ended = run_command("health", "--codes", "--address", fragile.grpc)
        assert (ended.returncode, ended.stdout) == (0, "serving\n")
        processes.decoder.resume()
        eventually(lambda: is_serving(fragile.grpc, timeout_seconds=5), "labels decode")

        processes.redis.suspend()
        eventually(lambda: not codes_are_served(fragile), "nothing can be opened")
        processes.redis.resume()
        eventually(lambda: codes_are_served(fragile), "the store answers")
    finally:
        processes.redis.resume()
        processes.decoder.resume()
        processes.supervisor.resume()


def address(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return host, int(port)


@pytest.mark.timeout(300)
def test_idle_clients_do_not_hold_the_ports(tmp_path: Path) -> None:
    """Starting again at once on the same ports, after a stop and after a SIGKILL."""
    with running_service(tmp_path) as service:
        for end in (service.stop, service.kill):
            with (
                socket.create_connection(address(service.grpc)),
                socket.create_connection(address(service.admin)) as idle,
            ):
                # Kept alive by the client, and closed by the service.
                idle.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert idle.recv(100).startswith(b"HTTP/1.1 ")
                end()
                eventually(lambda: service.processes_left_but_redis() == [], "workers end")
                service.start()
                assert service.admin_answers()
                eventually(lambda: is_serving(service.grpc, timeout_seconds=5), "it serves")


@pytest.mark.timeout(300)
def test_a_killed_service_leaves_no_run_directory() -> None:
    directory = Path(tempfile.mkdtemp(dir="/tmp"))
    temporary = directory / "tmp"
    temporary.mkdir()

    def run_directories() -> list[Path]:
        return [path.parent for path in temporary.glob("labelcast-*/decoder-0.sock")]

    try:
        with running_service(directory, environment={"TMPDIR": str(temporary)}) as service:
            (first,) = run_directories()
            service.kill()
            eventually(lambda: not first.exists(), "its orphans remove it")
            eventually(lambda: service.processes_left_but_redis() == [], "orphans end")

            service.start()
            (second,) = run_directories()
            processes = service.processes()
            service.kill()
            for process in (processes.decoder, *processes.workers, processes.admin):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            eventually(lambda: service.processes_left_but_redis() == [], "all are dead")
            service.start()
            (third,) = run_directories()
            assert third != second
            assert list(temporary.iterdir()) == [third]
            service.stop()
            assert list(temporary.iterdir()) == []
    finally:
        shutil.rmtree(directory)
