"""A service with two decoders: one is enough, and health tells which."""

from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from labelcast import Representation
from labelcast_server.rpc.probe import is_serving, serving_decoders
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, eventually, run_command, running_service

pytestmark = pytest.mark.e2e

LOGITS = Representation.logits()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    options = ("--device", "cpu", "--decoders", "2")
    with running_service(tmp_path_factory.mktemp("fleet"), *options) as service:
        yield service


@pytest.fixture(scope="module")
def known(fleet: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    known = known_label_set(
        tmp_path_factory.mktemp("set"), "vqae", num_samples=1500, num_seeds=4, num_classes=500
    )
    fleet.push(known.on_disk, "dense")
    return known


def serving(service: RunningService) -> list[bool]:
    return serving_decoders(service.grpc, timeout_seconds=5)


def test_no_stream_notices_that_a_decoder_died(fleet: RunningService, known: KnownLabelSet) -> None:
    decoder, done = fleet.processes().decoder, 0
    with fleet.client(rows_in_flight=300, reconnect_seconds=0) as client:
        for batch in client.stream(client.open("dense"), known.views.batches(100), LOGITS):
            known.check(batch, np.arange(done, done + len(batch.rows)), LOGITS)
            done += len(batch.rows)
            if done == 1000:
                decoder.kill()
    assert done == len(known.views)
    eventually(lambda: "decoder-0 ended" in fleet.log(), "its death is noticed")
    assert fleet.processes().decoder.pid != decoder.pid
    eventually(lambda: serving(fleet) == [True, True], "both decode")


def test_health_shows_each_decoder(fleet: RunningService) -> None:
    processes = fleet.processes()
    stopped: list[psutil.Process] = [processes.supervisor, processes.decoder]
    for process in stopped:
        process.suspend()
    try:
        eventually(lambda: serving(fleet) == [False, True], "one does not answer")
        ended = run_command("health", "--address", fleet.grpc)
        assert (ended.returncode, ended.stdout.splitlines()) == (
            0,
            ["serving", "decoder-0: not serving", "decoder-1: serving"],
        )
        assert is_serving(fleet.grpc, timeout_seconds=5)
    finally:
        for process in stopped[::-1]:
            process.resume()
    eventually(lambda: serving(fleet) == [True, True], "both decode")
