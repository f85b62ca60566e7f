"""Each process of a service started by a command of its own, as compose or systemd do."""

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from labelcast import LabelClient, Representation
from labelcast.registry.client import Registry
from tests.e2e.label_sets import known_label_set
from tests.e2e.running_service import COMMAND, clean_environment, run_command
from tests.factories.real_redis import free_port, running_redis

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()


@contextlib.contextmanager
def alone(
    role: str,
    data_dir: Path,
    *options: str,
    end: signal.Signals = signal.SIGTERM,
    **environment: str,
) -> Iterator[str]:
    """One process of a service; gives its address, and ends it."""
    with (data_dir.parent / f"{role}.log").open("w+") as log:
        process = subprocess.Popen(
            [*COMMAND, role, "--json", "--data-dir", str(data_dir), *options],
            env=clean_environment({"LABELCAST_DECODER_THREADS": "1"} | environment),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert process.stdout is not None
        try:
            readable, _, _ = select.select([process.stdout], [], [], 90)
            line = process.stdout.readline() if readable else ""
            assert line, Path(log.name).read_text()
            yield json.loads(line)["address"]
        finally:
            process.send_signal(end)
            status = process.wait(60)
            process.stdout.close()
        assert status == 0, Path(log.name).read_text()
        assert "Traceback" not in Path(log.name).read_text()


def test_processes_that_others_supervise_make_a_service(tmp_path: Path) -> None:
    known = known_label_set(tmp_path / "set", "vqae", num_samples=50)
    metrics = free_port()
    data, at = tmp_path / "data", np.arange(len(known.views))
    with running_redis(tmp_path) as redis, alone("decoder", data, end=signal.SIGINT) as socket:
        assert Path(socket).is_socket()
        named = ("--redis-url", redis.url)
        with (
            alone("admin", data, "--admin-port", "0", *named) as admin,
            alone(
                "worker",
                data,
                "--grpc-port",
                "0",
                *named,
                end=signal.SIGINT,
                LABELCAST_METRICS_PORT=str(metrics),
            ) as grpc,
        ):
            with Registry(admin, (data / "admin.token").read_text().strip()) as registry:
                registry.push(known.on_disk, "alone")
            with LabelClient(grpc) as client:
                label_set = client.open("alone")
                for form in (CODES, LOGITS):
                    known.check(client.labels(label_set, known.views, form), at, form)
            said = httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
            assert f'labelcast_labels_total{{form="codes"}} {len(at)}.0\n' in said
            port = grpc.rpartition(":")[2]
            taken = run_command("worker", "--grpc-port", port, "--data-dir", str(data), *named)
            assert (taken.returncode, len(taken.stderr.splitlines())) == (1, 1), taken.stderr
        second = run_command("decoder", "--data-dir", str(data))
        assert (second.returncode, len(second.stderr.splitlines())) == (1, 1), second.stderr
    # What it holds is kept for the next service.
    assert [entry.name for entry in (data / "cache").iterdir()] == [f"labels-{os.geteuid()}"]


@pytest.mark.parametrize("role", ["worker", "admin"])
def test_who_shares_a_redis_must_name_it(role: str, tmp_path: Path) -> None:
    ended = run_command(role, "--data-dir", str(tmp_path / "data"))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--redis-url" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
