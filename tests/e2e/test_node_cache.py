"""Codes through the cache of a machine: every label compared, whatever happens to the cache."""

import contextlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import generate_latest

from labelcast import UNCHECKED, LabelClient, Plan, RemoteLabelSet, Representation, Views
from labelcast.errors import InvalidRequestError, ServiceUnavailableError, ViewNotFoundError
from labelcast.remote.node_cache.code_choice import CodeChoice
from labelcast.torch import LabelSetSource, SoftLabelLoader
from tests.e2e.counting_relay import CountingRelay, counting_relay
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, clean_environment, eventually
from tests.e2e.training_rank import Images
from tests.factories.tiny_disk import tiny_disk

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
CODES, LOGITS = Representation.codes(), Representation.logits()
# A call that opens, with its reply.
OPENING_BYTES = 20_000


@pytest.fixture(scope="module")
def known(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    """A label set of 20,000 labels in codes of 80 bytes, in 6 shards."""
    made = known_label_set(
        tmp_path_factory.mktemp("kept"), "raw", num_samples=5000, shard_bytes=300_000
    )
    service.push(made.on_disk, "kept")
    return made


@pytest.fixture(scope="module")
def other(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    """Another one of the same size."""
    made = known_label_set(
        tmp_path_factory.mktemp("other"), "raw", num_samples=5000, shard_bytes=300_000, seed=1
    )
    service.push(made.on_disk, "other")
    return made


def epochs(known: KnownLabelSet, count: int) -> Plan:
    """So many epochs, each of the first seed."""
    ids = np.unique(known.views.sample_ids)
    return Plan(ids, [int(known.views.seeds[0])] * count)


def passes(known: KnownLabelSet, count: int) -> Plan:
    """Every label so many times."""
    views = known.views
    return Plan(np.unique(views.sample_ids), np.unique(views.seeds).tolist() * count)


def places(known: KnownLabelSet, views: Views) -> Any:
    return known.on_disk.index().locate(views)[1]


def read(label_set: RemoteLabelSet, known: KnownLabelSet, batches: Any) -> int:
    """Read codes and compare them; how many."""
    count = 0
    for labels in label_set.stream(batches, CODES):
        known.check(labels, places(known, labels.views), CODES)
        count += len(labels.rows)
    return count


def read_all(label_set: RemoteLabelSet, known: KnownLabelSet, *, seed: int = 0) -> None:
    """Read every label once, in some order."""
    order = np.random.default_rng(seed).permutation(len(known.views))
    assert read(label_set, known, known.views[order].batches(512)) == len(order)


def how(label_set: RemoteLabelSet) -> CodeChoice:
    assert label_set.code_choice is not None
    return label_set.code_choice


def stored(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.glob("sha256-*"))


@contextlib.contextmanager
def reader(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.cached_reader", *map(str, arguments)],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def epoch(process: subprocess.Popen[str], where: str = "here") -> dict[str, Any]:
    """Have a reader read an epoch."""
    begin(process, where)
    return ended(process)


def begin(process: subprocess.Popen[str], where: str = "here") -> None:
    assert process.stdin is not None
    process.stdin.write(f"{where}\n")
    process.stdin.flush()


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    told: dict[str, Any] = json.loads(process.stdout.readline())
    return told


def test_the_second_epoch_of_a_plan_needs_no_network(
    service: RunningService,
    known: KnownLabelSet,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    plan = passes(known, 2)
    with service.client(cache_directory=tmp_path) as client:
        label_set = client.open("kept")
        before = client.wire_bytes.total
        rows = len(known.views)
        # Of a second pass the plan knows from the start, though the loop asks for one alone.
        assert read(label_set, known, plan.batches(500, stop=rows)) == rows
        first, whole = client.wire_bytes.total - before, known.rows.nbytes
        assert whole < first < 1.1 * whole
        assert read(label_set, known, plan.batches(500, start=rows)) == rows
        assert client.wire_bytes.total - before == first
        assert how(label_set).whole_shards
        assert f"codes of {label_set.digest} come as whole shards: " in caplog.text
        # Dense labels stay with the service.
        (dense,) = label_set.stream([known.views[:50]], LOGITS)
        known.check(dense, np.arange(50), LOGITS)
        assert client.wire_bytes.total - before > first
    with reader(service.grpc, "kept", known.on_disk.directory, tmp_path, "auto") as process:
        told = epoch(process)
    assert told["received"] < OPENING_BYTES
    assert told["choice"] == "whole shards: all are in the cache"


def test_a_plan_that_reads_little_asks_for_rows(
    service: RunningService, known: KnownLabelSet, tmp_path: Path
) -> None:
    plan = epochs(known, 2)
    with service.client(cache_directory=tmp_path) as client:
        label_set = client.open("kept")
        assert label_set.code_choice is None
        assert read(label_set, known, plan.batches(500)) == len(plan)
        assert not how(label_set).whole_shards
        assert "MiB to fetch, " in how(label_set).reason
        assert client.wire_bytes.total < known.rows.nbytes
    with service.client(cache_directory=tmp_path, fetch_shards="always") as client:
        label_set = client.open("kept")
        read(label_set, known, plan.batches(500))
        assert how(label_set).whole_shards
    with service.client(cache_directory=tmp_path, fetch_shards="never") as client:
        label_set = client.open("kept")
        read_all(label_set, known)
        assert not how(label_set).whole_shards
        assert client.wire_bytes.received > known.rows.nbytes


def test_listed_batches_change_over_in_mid_stream(
    service: RunningService, known: KnownLabelSet, tmp_path: Path
) -> None:
    at = np.concatenate([np.random.default_rng(n).permutation(len(known.views)) for n in range(4)])
    whole = known.rows.nbytes
    with service.client(cache_directory=tmp_path, metrics=True) as client:
        label_set = client.open("kept")
        begun, totals, seen = count_cached(), list[int](), 0
        for labels in label_set.stream(known.views[at].batches(500), CODES):
            known.check(labels, at[seen : seen + len(labels.rows)], CODES)
            seen += len(labels.rows)
            totals.append(client.wire_bytes.total)
        assert seen == len(at)
        # At most twice what would have been best: as much was asked for as was fetched then.
        assert totals[0] < whole
        assert totals[-1] < 2.5 * whole
        assert totals[-1] == totals[3 * len(totals) // 4]
        assert how(label_set).whole_shards
        assert 1.5 * len(known.views) < count_cached() - begun < 3.1 * len(known.views)


def count_cached() -> float:
    (line,) = [
        line
        for line in generate_latest().decode().splitlines()
        if line.startswith("labelcast_client_cached_labels_total ")
    ]
    return float(line.split()[1])


def test_single_batches_and_readers_change_over_too(
    service: RunningService, known: KnownLabelSet, tmp_path: Path
) -> None:
    views = known.views
    with service.client(cache_directory=tmp_path) as client:
        label_set = client.open("kept")
        read_here = label_set.reader(policy=label_set.contract.policy)
        source, totals = LabelSetSource(label_set, CODES), list[int]()
        for _ in range(3):
            for first in range(0, len(views), 4000):
                at = np.arange(first, first + 4000)
                known.check(client.labels(label_set, views[at], CODES), at, CODES)
                assert np.array_equal(read_here(views[at]), known.labels[at])
                (soft,) = source.labels([views[at]])
                assert np.array_equal(soft.numpy(), known.labels[at])
            assert how(label_set).whole_shards
            totals.append(client.wire_bytes.total)
        assert totals[2] == totals[1]
        again = pickle.loads(pickle.dumps(label_set))
        read_all(again, known)
        assert how(again).reason == "all are in the cache"
        # What the service refuses is refused here.
        unknown = Views.of([5], 0)
        for ask in (
            lambda: client.labels(label_set, unknown, CODES),
            lambda: list(label_set.stream([views[:5], unknown], CODES)),
        ):
            with pytest.raises(ViewNotFoundError, match=r"no sample ID 5"):
                ask()
        for batches, told in (([views[:0]], "must not be empty"), ([None], "must be Views")):
            with pytest.raises(InvalidRequestError, match=told):
                list(label_set.stream(batches, CODES))  # type: ignore[arg-type]


def test_the_loader_that_counts_epochs(service: RunningService, tmp_path: Path) -> None:
    known = known_label_set(tmp_path / "set", "raw", num_samples=200, num_seeds=2)
    service.push(known.on_disk, "small")
    classes = [f"class {number}" for number in range(40)]
    images = Images(np.unique(known.views.sample_ids), classes)
    with service.client(cache_directory=tmp_path / "cache") as client:
        label_set = client.open("small")
        source = LabelSetSource(label_set, CODES)
        seeds = np.unique(known.views.seeds).tolist() * 2
        loader = SoftLabelLoader(
            images, source, seeds=seeds, batch_size=64, fingerprints=UNCHECKED, canary=None
        )
        totals = []
        for number in range(4):
            loader.set_epoch(number)
            seen = 0
            for batch in loader:
                at = places(known, batch.views)
                assert np.array_equal(batch.labels.numpy(), known.labels[at])
                seen += len(at)
            assert seen == 200
            totals.append(client.wire_bytes.total)
        assert how(label_set).whole_shards
    assert totals[1] == totals[2] == totals[3]


def test_clients_that_read_a_part_each_count_together(
    service: RunningService, known: KnownLabelSet, tmp_path: Path
) -> None:
    half, received = len(known.views) // 2, list[int]()
    for turn in range(5):
        # As workers of a data loader do that live for an epoch.
        part = known.views[half * (turn % 2) :][:half]
        with service.client(cache_directory=tmp_path) as client:
            label_set = client.open("kept")
            assert read(label_set, known, part.batches(500)) == half
            received.append(client.wire_bytes.received)
            assert how(label_set).whole_shards == (turn > 1)
    # The third fetches its shards, the fourth the others.
    assert received[4] < OPENING_BYTES
    assert sum(received[2:4]) < 1.1 * known.rows.nbytes


def test_spawned_workers_read_the_cache(
    service: RunningService, known: KnownLabelSet, tmp_path: Path
) -> None:
    with counting_relay(service.grpc) as relay:
        arguments = (relay.address, "kept", known.on_disk.directory, tmp_path, "always")
        with reader(*arguments) as process:
            epoch(process, "spawn")
            first = relay.total
            epoch(process, "spawn")
    # Two workers have fetched every shard once, and the next two none.
    assert known.rows.nbytes < first < 1.2 * known.rows.nbytes
    # But for a ping of an open connection.
    assert relay.total - first < 1000


def test_forked_workers_need_no_network_either(
    service: RunningService, known: KnownLabelSet, tmp_path: Path
) -> None:
    arguments = (service.grpc, "kept", known.on_disk.directory, tmp_path, "always")
    with reader(*arguments) as process:
        # The main process has a channel: without the cache, workers would be refused one.
        first = epoch(process)
        assert epoch(process, "fork") == first


def test_two_processes_fetch_once(
    service: RunningService, known: KnownLabelSet, tmp_path: Path
) -> None:
    arguments = (service.grpc, "kept", known.on_disk.directory, tmp_path, "always")
    with reader(*arguments) as first, reader(*arguments) as second:
        begin(first)
        begin(second)
        received = [ended(each)["received"] for each in (first, second)]
    assert sum(received) < 1.1 * known.rows.nbytes + 2 * OPENING_BYTES
    assert stored(tmp_path) >= known.rows.nbytes


class _Stalling(CountingRelay):
    """A network that says nothing more after so many bytes."""

    def _pump(self, source: Any, sink: Any) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(2**14):
                self.total += len(content)
                if self.total > 700_000:
                    return
                sink.sendall(content)


def test_a_process_that_is_killed_while_it_fetches(
    service: RunningService, known: KnownLabelSet, tmp_path: Path
) -> None:
    relay = _Stalling(service.grpc)
    arguments = ("kept", known.on_disk.directory, tmp_path, "always")
    with reader(relay.address, *arguments) as process:
        begin(process)
        eventually(lambda: relay.total > 700_000, "the network stalls")
        partial = list(tmp_path.glob(".sha256-*.partial"))
        process.send_signal(signal.SIGKILL)
        process.wait()
    relay.close()
    assert len(partial) == 1
    assert partial[0].exists()
    with reader(service.grpc, *arguments) as process:
        told = epoch(process)
        # What was whole is not fetched again.
        assert told["received"] < known.rows.nbytes
        assert epoch(process) == told
    assert not list(tmp_path.glob(".sha256-*.partial"))


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut":
        os.truncate(path, len(content) // 2)
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        with path.open("r+b") as file:
            file.write(changed)


@pytest.mark.parametrize("what", ["cut", "emptied", "flipped"])
def test_damaged_files_are_fetched_again(
    service: RunningService,
    known: KnownLabelSet,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    with service.client(cache_directory=tmp_path, fetch_shards="always") as client:
        label_set = client.open("kept")
        read_all(label_set, known)
        label_set.codec()
        # Beneath a process that has mapped and checked them.
        for path in list(tmp_path.glob("sha256-*")):
            damage(path, what)
        read_all(label_set, known, seed=1)
        for path in list(tmp_path.glob("sha256-*")):
            damage(path, what)
        # Before another one's first use.
        again = pickle.loads(pickle.dumps(label_set))
        read_all(again, known, seed=2)
        assert np.array_equal(again.labels(known.views.sample_ids[:9], 0), known.labels[:9])
        assert how(again).whole_shards
        assert "is damaged; it is removed and fetched again" in caplog.text
        again._client.close()


def test_a_disk_that_is_or_becomes_full(
    service: RunningService,
    known: KnownLabelSet,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with tiny_disk(tmp_path / "disk", 4) as disk:
        disk.fill()
        for leave in (0, 700_000):
            (disk.path / "filling").unlink()
            disk.fill(leave=leave)
            with service.client(cache_directory=disk.path, fetch_shards="always") as client:
                label_set = client.open("kept")
                plan = epochs(known, 2)
                assert read(label_set, known, plan.batches(500)) == len(plan)
                read_all(label_set, known)
                assert not how(label_set).whole_shards
                assert "No space left on device" in how(label_set).reason
            told = [line for line in caplog.messages if "row by row from now on" in line]
            assert len(told) == 1
            caplog.clear()
            # The half of shards that found room is of use later.
            assert (stored(disk.path) > 300_000) == bool(leave)
        disk.free()
        with service.client(cache_directory=disk.path, fetch_shards="always") as client:
            label_set = client.open("kept")
            read_all(label_set, known)
            assert how(label_set).whole_shards
            assert client.wire_bytes.received < known.rows.nbytes


def test_a_bound_smaller_than_a_set_or_two(
    service: RunningService,
    known: KnownLabelSet,
    other: KnownLabelSet,
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {"cache_directory": tmp_path, "fetch_shards": "always"}
    with service.client(**options, cache_mib=1) as client:
        label_set = client.open("kept")
        read_all(label_set, known)
        assert how(label_set) == CodeChoice(False, "1.56 MiB would exceed cache_mib, 1")
        assert stored(tmp_path) < 100_000
    with service.client(**options, cache_mib=2) as client:
        label_set, another = client.open("kept"), client.open("other")
        read_all(label_set, known)
        # The first is in use, and stays.
        read_all(another, other)
        assert how(label_set).whole_shards
        assert "of cache_mib, of which " in how(another).reason
        before = client.wire_bytes.total
        read_all(label_set, known, seed=1)
        assert client.wire_bytes.total == before
        assert stored(tmp_path) <= 2 * 2**20
    # Nobody uses it any more, and it goes.
    for tag, right in (("other", other), ("kept", known), ("other", other)):
        with service.client(**options, cache_mib=2) as client:
            label_set = client.open(tag)
            read_all(label_set, right)
            assert how(label_set).whole_shards
            assert client.wire_bytes.received > right.rows.nbytes // 2
        assert stored(tmp_path) <= 2 * 2**20


def test_training_goes_on_without_the_service(fragile: RunningService, tmp_path: Path) -> None:
    known = known_label_set(tmp_path / "set", "vqae-context", num_samples=2000)
    fragile.push(known.on_disk, "kept")
    options: dict[str, Any] = {"cache_directory": tmp_path / "cache", "reconnect_seconds": 0.5}
    plan = epochs(known, 40)
    with fragile.client(**options) as client:
        label_set = client.open("kept")
        source = LabelSetSource(label_set, CODES)
        soft = source.labels(plan.batches(500))
        seen = 0
        for labels in soft:
            at = places(known, plan.views(seen, seen + len(labels)))
            np.testing.assert_allclose(labels.numpy(), known.labels[at], atol=1e-3)
            seen += len(labels)
            if seen == plan.rows_per_epoch:
                assert fragile.stop() == 0
        assert seen == len(plan)
        # What a label set is, and whether one may read it, is still for the service to say.
        with pytest.raises(ServiceUnavailableError):
            client.open("kept")
    with LabelClient(fragile.grpc, **options) as another, pytest.raises(ServiceUnavailableError):
        another.open("kept")
