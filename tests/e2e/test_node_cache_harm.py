"""Whatever happens to the cache of a machine, labels are right and training goes on."""

import contextlib
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast import LabelClient
from labelcast.errors import ServiceUnavailableError
from labelcast.remote.node_cache.code_choice import CodeChoice
from labelcast.torch import LabelSetSource
from tests.e2e.cached_codes import (
    CODES,
    begin,
    epoch,
    epochs,
    how,
    places,
    read,
    read_all,
    reader,
    stored,
)
from tests.e2e.counting_relay import CountingRelay
from tests.e2e.label_sets import KnownLabelSet, known_label_set
from tests.e2e.running_service import RunningService, eventually
from tests.factories.tiny_disk import tiny_disk

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def other(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> KnownLabelSet:
    """Another one of the same size."""
    made = known_label_set(
        tmp_path_factory.mktemp("other"), "raw", num_samples=5000, shard_bytes=300_000, seed=1
    )
    service.push(made.on_disk, "other")
    return made


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
    service: RunningService, kept: KnownLabelSet, tmp_path: Path
) -> None:
    relay = _Stalling(service.grpc)
    arguments = ("kept", kept.on_disk.directory, tmp_path, "always")
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
        assert told["received"] < kept.rows.nbytes
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
    kept: KnownLabelSet,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    with service.client(cache_directory=tmp_path, fetch_shards="always") as client:
        label_set = client.open("kept")
        read_all(label_set, kept)
        label_set.codec()
        # Beneath a process that has mapped and checked them.
        for path in list(tmp_path.glob("sha256-*")):
            damage(path, what)
        read_all(label_set, kept, seed=1)
        for path in list(tmp_path.glob("sha256-*")):
            damage(path, what)
        # Before another one's first use.
        again = pickle.loads(pickle.dumps(label_set))
        read_all(again, kept, seed=2)
        assert np.array_equal(again.labels(kept.views.sample_ids[:9], 0), kept.labels[:9])
        assert how(again).whole_shards
        assert "is damaged; it is removed and fetched again" in caplog.text
        again._client.close()


def test_a_disk_that_is_or_becomes_full(
    service: RunningService,
    kept: KnownLabelSet,
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
                plan = epochs(kept, 2)
                assert read(label_set, kept, plan.batches(500)) == len(plan)
                read_all(label_set, kept)
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
            read_all(label_set, kept)
            assert how(label_set).whole_shards
            assert client.wire_bytes.received < kept.rows.nbytes


def test_a_bound_smaller_than_a_set_or_two(
    service: RunningService,
    kept: KnownLabelSet,
    other: KnownLabelSet,
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {"cache_directory": tmp_path, "fetch_shards": "always"}
    with service.client(**options, cache_mib=1) as client:
        label_set = client.open("kept")
        read_all(label_set, kept)
        assert how(label_set) == CodeChoice(False, "1.56 MiB would exceed cache_mib, 1")
        assert stored(tmp_path) < 100_000
    with service.client(**options, cache_mib=2) as client:
        label_set, another = client.open("kept"), client.open("other")
        read_all(label_set, kept)
        # The first is in use, and stays.
        read_all(another, other)
        assert how(label_set).whole_shards
        assert "of cache_mib, of which " in how(another).reason
        before = client.wire_bytes.total
        read_all(label_set, kept, seed=1)
        assert client.wire_bytes.total == before
        assert stored(tmp_path) <= 2 * 2**20
    # Nobody uses it any more, and it goes.
    for tag, right in (("other", other), ("kept", kept), ("other", other)):
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
