"""Stopping, killing and starting again, on one data directory."""

import socket
from pathlib import Path

import numpy as np
import psutil
import pytest

from labelcast import LabelClient, Representation
from labelcast.errors import NetworkError, ServiceUnavailableError
from tests.e2e.label_sets import KnownLabelSet, identity_label_set, known_label_set
from tests.e2e.running_service import (
    RunningService,
    eventually,
    is_alive,
    run_command,
    running_service,
)

pytestmark = pytest.mark.e2e

FREE_PORTS = {"LABELCAST_GRPC_PORT": "0", "LABELCAST_ADMIN_PORT": "0"}
CODES, LOGITS = Representation.codes(), Representation.logits()


def test_stop_kill_and_start_again(tmp_path: Path) -> None:
    dense = known_label_set(
        tmp_path / "dense", "vqae", num_samples=1500, num_seeds=4, num_classes=500
    )
    names = identity_label_set(tmp_path / "names", 3)
    with running_service(tmp_path, environment={"LABELCAST_DRAIN_SECONDS": "30"}) as service:
        digest = service.push(dense.on_disk, "dense:v1")
        service.push(names.on_disk, "names:v1")
        token = service.token()

        with service.client(rows_in_flight=300, reconnect_seconds=0) as client:
            drain_during_a_stream(service, client, dense)
        eventually(lambda: service.processes_left() == [], "nobody is left")
        with (
            service.client() as client,
            pytest.raises(ServiceUnavailableError, match="labelcast-server serve"),
        ):
            client.open("dense:v1")

        service.start()
        assert service.token() == token
        check_everything(service, {"dense:v1": dense, digest: dense, "names:v1": names})

        redis = service.processes().redis
        assert redis is not None
        with service.client(rows_in_flight=300) as client:
            stream = client.stream(client.open("dense:v1"), dense.views.batches(50), LOGITS)
            dense.check(next(stream), np.arange(50), LOGITS)
            orphans = [process for process in service.kill() if process != redis]
            eventually(lambda: not is_listening(service.grpc), "an orphaned worker takes no calls")
            # Redis is left to the next start, which ends it in order.
            assert is_alive(redis)
            service.start()
            assert not is_alive(redis)
            # The stream that was open all the time goes on where it was.
            done = 50
            for batch in stream:
                at = np.arange(done, done + len(batch.rows))
                dense.check(batch, at, LOGITS)
                done += len(batch.rows)
            assert done == len(dense.views)
        eventually(lambda: not any(map(is_alive, orphans)), "orphans end by themselves")
        check_everything(service, {"dense:v1": dense, digest: dense, "names:v1": names})
        assert service.stop() == 0


def is_listening(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def drain_during_a_stream(
    service: RunningService, client: LabelClient, known: KnownLabelSet
) -> None:
    """SIGTERM lets a stream end, takes no new call, and the service exits with 0."""
    label_set = client.open("dense:v1")
    done = 0
    for batch in client.stream(label_set, known.views.batches(50), LOGITS):
        known.check(batch, np.arange(done, done + len(batch.rows)), LOGITS)
        done += len(batch.rows)
        if done == 1000:
            service.processes()
            service.process.terminate()
            with service.client() as late:
                eventually(lambda: refuses(late), "new calls are refused")
    assert done == len(known.views)
    assert service.wait() == 0


def refuses(client: LabelClient) -> bool:
    try:
        client.open("dense:v1")
    except NetworkError:
        return True
    finally:
        client.close()
    return False


def check_everything(service: RunningService, sets: dict[str, KnownLabelSet]) -> None:
    with service.client() as client:
        for reference, known in sets.items():
            label_set = client.open(reference)
            assert label_set.digest == known.on_disk.digest
            for representation in (CODES, LOGITS):
                at = np.random.default_rng(1).permutation(len(known.views))[:1500]
                known.check(
                    client.labels(label_set, known.views[at], representation), at, representation
                )


def test_ports_and_directories_in_use(service: RunningService, tmp_path: Path) -> None:
    grpc_port, admin_port = (url.rpartition(":")[2] for url in (service.grpc, service.admin))
    for ports in (
        ("--grpc-port", grpc_port, "--admin-port", "0"),
        ("--grpc-port", "0", "--admin-port", admin_port),
    ):
        ended = run_command("serve", *ports, "--data-dir", str(tmp_path))
        assert_one_line(ended.stderr, "cannot listen on 127.0.0.1:")
        assert (ended.returncode, ended.stdout) == (1, "")
    ended = run_command("serve", "--data-dir", str(service.data_dir), environment=FREE_PORTS)
    assert_one_line(ended.stderr, "is in use by another labelcast service")
    assert ended.returncode == 1
    # Nobody else's start has disturbed the one that runs.
    assert run_command("health", "--address", service.grpc).stdout == "serving\n"


@pytest.mark.parametrize(
    ("options", "environment", "status", "says"),
    [
        ((), {"LABELCAST_NONSENSE": "1"}, 2, "LABELCAST_NONSENSE is unknown"),
        ((), {"LABELCAST_GRPC_PORT": "70707"}, 2, "LABELCAST_GRPC_PORT"),
        (("--workers", "0"), {}, 2, "LABELCAST_WORKERS"),
        (("--device", "toaster"), {}, 2, "LABELCAST_DEVICE"),
        (("--no-such-option",), {}, 2, "--no-such-option"),
        (("--redis-url", "http://u:secret-word@127.0.0.1:1/0"), {}, 1, "redis://"),
        (("--redis-url", "redis://:secret-word@127.0.0.1:1/0"), {}, 1, "127.0.0.1:1"),
        (("--redis-url", "unix:///nowhere/redis.sock"), {}, 1, "/nowhere/redis.sock"),
        ((), {"LABELCAST_REDIS_URL": "redis://:secret-word@127.0.0.1:1/0"}, 1, "127.0.0.1:1"),
    ],
)
def test_serve_refuses_at_once(
    tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], status: int, says: str
) -> None:
    ended = run_command(
        "serve", "--data-dir", str(tmp_path), *options, environment=FREE_PORTS | environment
    )
    assert_one_line(ended.stderr, says)
    assert (ended.returncode, ended.stdout) == (status, "")


def test_a_data_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    below = str(tmp_path / "file" / "data")
    ended = run_command("serve", "--data-dir", below, environment=FREE_PORTS)
    assert_one_line(ended.stderr, "file")
    assert ended.returncode == 2


def assert_one_line(text: str, says: str) -> None:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert "secret-word" not in text


def test_health_of_nobody() -> None:
    ended = run_command("health", "--address", "127.0.0.1:1")
    assert_one_line(ended.stderr, "no labelcast service answers at 127.0.0.1:1 within 5 s; check")
    assert (ended.returncode, ended.stdout) == (1, "")


def test_stop_while_starting(tmp_path: Path) -> None:
    service = RunningService(tmp_path / "data")
    service.launch()
    try:
        eventually(lambda: len(psutil.Process(service.process.pid).children()) > 2, "children")
        assert service.stop() == 0
        eventually(lambda: service.processes_left() == [], "nobody is left")
    finally:
        service.clean_up()
    assert "Traceback" not in service.log()
