"""Codes through the cache of a machine: shared, chosen by bytes, and every label compared."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import generate_latest

from labelcast import UNCHECKED, Views
from labelcast.errors import InvalidRequestError, ViewNotFoundError
from labelcast.torch import LabelSetSource, SoftLabelLoader
from tests.e2e.cached_codes import (
    CODES,
    LOGITS,
    OPENING_BYTES,
    begin,
    ended,
    epoch,
    epochs,
    how,
    passes,
    places,
    read,
    read_all,
    reader,
    stored,
)
from tests.e2e.counting_relay import counting_relay
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService
from tests.e2e.training_rank import Images

pytestmark = pytest.mark.e2e


def test_the_second_epoch_of_a_plan_needs_no_network(
    service: RunningService,
    kept: KnownLabelSet,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    plan = passes(kept, 2)
    with service.client(cache_directory=tmp_path) as client:
        label_set = client.open("kept")
        before = client.wire_bytes.total
        rows = len(kept.views)
        # Of a second pass the plan knows from the start, though the loop asks for one alone.
        assert read(label_set, kept, plan.batches(500, stop=rows)) == rows
        first, whole = client.wire_bytes.total - before, kept.rows.nbytes
        assert whole < first < 1.1 * whole
        assert read(label_set, kept, plan.batches(500, start=rows)) == rows
        assert client.wire_bytes.total - before == first
        assert how(label_set).whole_shards
        assert f"codes of {label_set.digest} come as whole shards: " in caplog.text
        # Dense labels stay with the service.
        (dense,) = label_set.stream([kept.views[:50]], LOGITS)
        kept.check(dense, np.arange(50), LOGITS)
        assert client.wire_bytes.total - before > first
    with reader(service.grpc, "kept", kept.on_disk.directory, tmp_path, "auto") as process:
        told = epoch(process)
    assert told["received"] < OPENING_BYTES
    assert told["choice"] == "whole shards: all are in the cache"


def test_a_plan_that_reads_little_asks_for_rows(
    service: RunningService, kept: KnownLabelSet, tmp_path: Path
) -> None:
    plan = epochs(kept, 2)
    with service.client(cache_directory=tmp_path) as client:
        label_set = client.open("kept")
        assert label_set.code_choice is None
        assert read(label_set, kept, plan.batches(500)) == len(plan)
        assert not how(label_set).whole_shards
        assert "MiB to fetch, " in how(label_set).reason
        assert client.wire_bytes.total < kept.rows.nbytes
    with service.client(cache_directory=tmp_path, fetch_shards="always") as client:
        label_set = client.open("kept")
        read(label_set, kept, plan.batches(500))
        assert how(label_set).whole_shards
    with service.client(cache_directory=tmp_path, fetch_shards="never") as client:
        label_set = client.open("kept")
        read_all(label_set, kept)
        assert not how(label_set).whole_shards
        assert client.wire_bytes.received > kept.rows.nbytes


def test_listed_batches_change_over_in_mid_stream(
    service: RunningService, kept: KnownLabelSet, tmp_path: Path
) -> None:
    at = np.concatenate([np.random.default_rng(n).permutation(len(kept.views)) for n in range(4)])
    whole = kept.rows.nbytes
    with service.client(cache_directory=tmp_path, metrics=True) as client:
        label_set = client.open("kept")
        begun, totals, seen = count_cached(), list[int](), 0
        for labels in label_set.stream(kept.views[at].batches(500), CODES):
            kept.check(labels, at[seen : seen + len(labels.rows)], CODES)
            seen += len(labels.rows)
            totals.append(client.wire_bytes.total)
        assert seen == len(at)
        # At most twice what would have been best: as much was asked for as was fetched then.
        assert totals[0] < whole
        assert totals[-1] < 2.5 * whole
        assert totals[-1] == totals[3 * len(totals) // 4]
        assert how(label_set).whole_shards
        assert 1.5 * len(kept.views) < count_cached() - begun < 3.1 * len(kept.views)


def count_cached() -> float:
    (line,) = [
        line
        for line in generate_latest().decode().splitlines()
        if line.startswith("labelcast_client_cached_labels_total ")
    ]
    return float(line.split()[1])


def test_single_batches_and_readers_change_over_too(
    service: RunningService, kept: KnownLabelSet, tmp_path: Path
) -> None:
    views = kept.views
    with service.client(cache_directory=tmp_path) as client:
        label_set = client.open("kept")
        read_here = label_set.reader(policy=label_set.contract.policy)
        source, totals = LabelSetSource(label_set, CODES), list[int]()
        for _ in range(3):
            for first in range(0, len(views), 4000):
                at = np.arange(first, first + 4000)
                kept.check(client.labels(label_set, views[at], CODES), at, CODES)
                assert np.array_equal(read_here(views[at]), kept.labels[at])
                asked = client.ask(label_set, views[at], CODES)
                kept.check(asked.result(), at, CODES)
                (soft,) = source.labels([views[at]])
                assert np.array_equal(soft.numpy(), kept.labels[at])
            assert how(label_set).whole_shards
            totals.append(client.wire_bytes.total)
        assert totals[2] == totals[1]
        again = pickle.loads(pickle.dumps(label_set))
        read_all(again, kept)
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
    service: RunningService, kept: KnownLabelSet, tmp_path: Path
) -> None:
    half, received = len(kept.views) // 2, list[int]()
    for turn in range(5):
        # As workers of a data loader do that live for an epoch.
        part = kept.views[half * (turn % 2) :][:half]
        with service.client(cache_directory=tmp_path) as client:
            label_set = client.open("kept")
            assert read(label_set, kept, part.batches(500)) == half
            received.append(client.wire_bytes.received)
            assert how(label_set).whole_shards == (turn > 1)
    # The third fetches its shards, the fourth the others.
    assert received[4] < OPENING_BYTES
    assert sum(received[2:4]) < 1.1 * kept.rows.nbytes


def test_spawned_workers_read_the_cache(
    service: RunningService, kept: KnownLabelSet, tmp_path: Path
) -> None:
    with counting_relay(service.grpc) as relay:
        arguments = (relay.address, "kept", kept.on_disk.directory, tmp_path, "always")
        with reader(*arguments) as process:
            epoch(process, "spawn")
            first = relay.total
            epoch(process, "spawn")
    # Two workers have fetched every shard once, and the next two none.
    assert kept.rows.nbytes < first < 1.2 * kept.rows.nbytes
    # But for a ping of an open connection.
    assert relay.total - first < 1000


def test_forked_workers_need_no_network_either(
    service: RunningService, kept: KnownLabelSet, tmp_path: Path
) -> None:
    arguments = (service.grpc, "kept", kept.on_disk.directory, tmp_path, "always")
    with reader(*arguments) as process:
        # The main process has a channel: without the cache, workers would be refused one.
        first = epoch(process)
        assert epoch(process, "fork") == first


def test_two_processes_fetch_once(
    service: RunningService, kept: KnownLabelSet, tmp_path: Path
) -> None:
    arguments = (service.grpc, "kept", kept.on_disk.directory, tmp_path, "always")
    with reader(*arguments) as first, reader(*arguments) as second:
        begin(first)
        begin(second)
        received = [ended(each)["received"] for each in (first, second)]
    assert sum(received) < 1.1 * kept.rows.nbytes + 2 * OPENING_BYTES
    assert stored(tmp_path) >= kept.rows.nbytes
