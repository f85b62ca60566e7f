"""Loops of one's own over a service that dies, hangs, lies or is slow: what they are given."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import count, islice
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from prometheus_client import generate_latest
from torch.utils.data import DataLoader

from labelcast import LabelClient, LoopReader, OnMiss, ReadLabels, Representation, Views
from labelcast.codec import TOLERANCES, Precision
from labelcast.errors import (
    ChecksumMismatchError,
    InvalidRequestError,
    LabelcastError,
    ProtocolError,
    ServiceUnavailableError,
    ViewNotFoundError,
    WrongSubjectError,
)
from labelcast.torch import TrainingPlan
from labelcast.v2 import labels_pb2 as pb
from tests.e2e import tampering as do
from tests.e2e.counting_relay import counting_relay
from tests.e2e.hostile_peer import Fault, Messages, Tamper, hostile_peer
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.running_service import RunningService, eventually
from tests.e2e.scraping import samples, scrape

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()
POLICIES = (OnMiss.SKIP, OnMiss.HARD_LABEL)
BATCH = 50


def classes_of(known: KnownLabelSet) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sample IDs and the user's hard labels, in no order."""
    ids = known.on_disk.index().sample_ids
    return ids[::-1], (np.arange(len(ids)) % known.codec.header.num_classes)[::-1]


def reader_of(client: LabelClient, known: KnownLabelSet, **options: Any) -> LoopReader:
    label_set = client.open("dense")
    if options.get("on_miss") is OnMiss.HARD_LABEL:
        options["hard_labels"] = classes_of(known)
    return label_set.loop_reader(policy=label_set.contract.policy, **options)


def plan_of(known: KnownLabelSet) -> TrainingPlan:
    """Far more batches than any test reads."""
    (segment,) = known.on_disk.index().segments
    return TrainingPlan(segment.sample_ids, segment.seeds.tolist() * 500, batch_size=BATCH)


def check(known: KnownLabelSet, labels: ReadLabels, on_miss: OnMiss) -> int:
    """Assert that every row is the right one or says that it is missing; how many are."""
    there = np.asarray(labels.present)
    values = np.asarray(labels.values)
    stored = np.flatnonzero(known.on_disk.index().holds(labels.views))
    _, rows = known.on_disk.index().locate(labels.views[stored])
    expected = np.full(values.shape, np.nan, np.float32)
    expected[stored] = known.labels[rows]
    precision = Precision.FP16 if values.dtype == np.float16 else Precision.FP32
    given = values[there].astype(np.float32)
    assert TOLERANCES[precision].accepts(given, expected[there])
    assert np.isnan(values[~there]).all()
    if on_miss is OnMiss.HARD_LABEL:
        ids, classes = classes_of(known)
        of_sample = dict(zip(ids.tolist(), classes.tolist(), strict=True))
        shown = [of_sample[one] for one in labels.views.sample_ids[~there].tolist()]
        np.testing.assert_array_equal(labels.hard.argmax(1), shown)
        np.testing.assert_array_equal(labels.hard.sum(1), 1)
    else:
        assert labels.hard is None
    return int((~there).sum())


def kill_all(service: RunningService) -> None:
    processes = service.processes()
    service.kill()
    for process in (processes.decoder, *processes.workers, processes.admin):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    eventually(lambda: service.processes_left_but_redis() == [], "all are dead")


def counted_misses() -> dict[str, float]:
    name = "labelcast_client_missed_labels_total,"
    found = samples(generate_latest().decode())
    return {key.removeprefix(name): n for key, n in found.items() if key.startswith(name)}


class Loop:
    """A loop that reads ahead and asks, and knows what it should have missed."""

    def __init__(self, reader: LoopReader, known: KnownLabelSet, on_miss: OnMiss) -> None:
        self.reader, self._known, self._on_miss = reader, known, on_miss
        self._plan = iter(plan_of(known))
        self._over = reader.over(plan_of(known))
        self.missed = 0

    def step(self) -> bool:
        """Read a batch ahead, and one by asking; whether neither lacks a row."""
        wanted, (planned, labels) = next(self._plan), next(self._over)
        assert (planned.position, planned.views) == (wanted.position, wanted.views)
        assert labels.views == wanted.views
        asked = self.reader.ask(wanted.views).result()
        missed = [check(self._known, one, self._on_miss) for one in (labels, asked)]
        self.missed += sum(missed)
        return not any(missed)

    def close(self) -> None:
        self._over.close()


@pytest.mark.timeout(300)
def test_a_killed_service_is_missed_or_waited_for_and_used_again(
    fragile: RunningService, dense: KnownLabelSet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "labelcast.reader")
    before = counted_misses()
    with (
        fragile.client(metrics=True, reconnect_seconds=0.5) as client,
        fragile.client() as patient,
        ThreadPoolExecutor(1) as thread,
        ExitStack() as ended,
    ):
        loops = [Loop(reader_of(client, dense, on_miss=each), dense, each) for each in POLICIES]
        waiting = Loop(reader_of(patient, dense), dense, OnMiss.WAIT)
        for loop in (*loops, waiting):
            ended.callback(loop.close)
            assert loop.step()

        kill_all(fragile)
        for loop in loops:
            # What was on its way may have come; nothing comes after that.
            done = [loop.step() for _ in range(20)]
            assert not any(done[1:])
        with_patience = thread.submit(lambda: [waiting.step() for _ in range(60)])
        fragile.start()
        assert all(with_patience.result(120))
        for loop in loops:
            eventually(loop.step, "the service is used again")
            assert all(loop.step() for _ in range(10))
            assert sum(loop.reader.missed.values()) == loop.missed > BATCH
        assert waiting.reader.missed == {}

    grown = {reason: n - before.get(reason, 0) for reason, n in counted_misses().items()}
    assert sum(grown.values()) == sum(loop.missed for loop in loops)
    assert set(grown) <= {"service_unavailable", "deadline_exceeded"}
    for each in POLICIES:
        begins = f"labels are missing from now on, with on_miss={each}: the service at"
        assert [begins in line for line in caplog.messages].count(True) == 1
    ends = [f"labels come again; {loop.missed} rows went without" for loop in loops]
    assert [line for line in caplog.messages if line.startswith("labels come")] == ends


def test_a_loop_without_patience_gets_the_error(
    fragile: RunningService, dense: KnownLabelSet
) -> None:
    with fragile.client() as real:
        facts = real.open("dense")
    with LabelClient("127.0.0.1:1", reconnect_seconds=0) as nowhere:
        asked = nowhere.ask(facts, dense.views[:3], CODES)
        with pytest.raises(ServiceUnavailableError, match="cannot be reached"):
            asked.result()


@pytest.mark.timeout(300)
def test_labels_that_are_late_are_missed(fragile: RunningService, dense: KnownLabelSet) -> None:
    (worker,) = fragile.processes().workers
    with fragile.client() as client:
        reader = reader_of(client, dense, on_miss=OnMiss.SKIP, miss_seconds=0.2)
        # What decoding needs; on a busy machine the labels may be late already.
        late = check(dense, reader(dense.views[:7]), OnMiss.SKIP)
        worker.suspend()
        try:
            assert check(dense, reader(dense.views[:7]), OnMiss.SKIP) == 7
        finally:
            worker.resume()
        assert reader.missed == {"deadline_exceeded": late + 7}
        eventually(lambda: bool(reader(dense.views[:7]).present.all()), "it answers again")


def flip(reply: pb.GetLabelsResponse) -> None:
    part = reply.parts[0]
    part.payload = bytes([part.payload[0] ^ 1]) + part.payload[1:]


@pytest.mark.parametrize("on_miss", POLICIES)
@pytest.mark.parametrize(
    ("direction", "tamper", "error"),
    [
        ("requests", do.rewrite(pb.GetLabelsRequest, do.asking(do.rotated)), WrongSubjectError),
        ("replies", do.rewrite(pb.GetLabelsResponse, flip), ChecksumMismatchError),
        ("replies", do.truncate, ProtocolError),
    ],
)
def test_what_speaks_against_labels_is_never_a_miss(
    fragile: RunningService,
    dense: KnownLabelSet,
    on_miss: OnMiss,
    direction: str,
    tamper: Tamper,
    error: type[LabelcastError],
) -> None:
    fault = Fault("GetLabels", direction, 0, tamper, always=True)
    with (
        hostile_peer(fragile.grpc, fault) as peer,
        LabelClient(peer.address, reconnect_seconds=0.15) as client,
    ):
        reader = reader_of(client, dense, on_miss=on_miss, miss_seconds=60)
        with pytest.raises(error):
            reader(dense.views[:9])
        with pytest.raises(error):
            list(reader.over([dense.views[:9]]))
    assert reader.missed == {}
    assert peer.faults >= 4


def test_what_spoke_against_labels_is_told_though_none_come_after(
    fragile: RunningService, dense: KnownLabelSet
) -> None:
    calls = count()

    def wrong_and_then_none(messages: Messages) -> Messages:
        assert next(calls) == 0, "a failure of the peer"
        yield from do.rewrite(pb.GetLabelsResponse, flip)(messages)

    fault = Fault("GetLabels", "replies", 0, wrong_and_then_none, always=True)
    with (
        hostile_peer(fragile.grpc, fault) as peer,
        LabelClient(peer.address, reconnect_seconds=0.15) as client,
    ):
        reader = reader_of(client, dense, on_miss=OnMiss.SKIP, miss_seconds=60)
        with pytest.raises(ChecksumMismatchError):
            reader(dense.views[:9])
        assert reader.missed == {}
        assert check(dense, reader(dense.views[:9]), OnMiss.SKIP) == 9
        assert reader.missed == {"service_unavailable": 9}


@pytest.mark.parametrize("on_miss", [OnMiss.WAIT, OnMiss.SKIP])
def test_a_slow_loop_is_never_far_behind_what_travels(
    fragile: RunningService, dense: KnownLabelSet, on_miss: OnMiss
) -> None:
    ahead, row_bytes = 4 * BATCH, 2 * dense.codec.header.num_classes
    with (
        counting_relay(fragile.grpc) as relay,
        LabelClient(relay.address, rows_in_flight=ahead) as client,
    ):
        reader = reader_of(client, dense, representation=LOGITS, on_miss=on_miss)
        began = relay.total
        with closing(reader.over(dense.views.batches(BATCH))) as read:
            for step, (views, labels) in enumerate(islice(read, 25), start=1):
                assert check(dense, labels, on_miss) == 0
                assert views == labels.views == dense.views[(step - 1) * BATCH : step * BATCH]
                # Beyond those ahead, a request of two batches, and one that came with the last.
                least, most = step * BATCH + ahead // 2, step * BATCH + ahead + 3 * BATCH
                eventually(partial(lambda n: relay.total - began > n * row_bytes, least), "ahead")
                assert relay.total - began < 1.05 * most * row_bytes  # Frames are counted too.


def test_each_request_has_its_own_labels_however_large(
    fragile: RunningService, dense: KnownLabelSet
) -> None:
    backwards = dense.views[::-1]
    with fragile.client() as client:
        fp32 = Representation.logits(Precision.FP32)
        reader = reader_of(client, dense, representation=fp32, on_miss=OnMiss.SKIP, in_flight=2)
        # 18 MB of labels: more than a service puts into one reply.
        large = reader.ask(Views.joined([dense.views[:3000], backwards]))
        small = reader.ask(backwards[:10])
        assert check(dense, small.result(), OnMiss.SKIP) == 0
        assert check(dense, large.result(), OnMiss.SKIP) == 0
        assert large.result() is large.result()
        assert large.result().views[3000:3010] == small.result().views


def test_a_loop_that_is_left_leaves_nothing_behind(
    fragile: RunningService, dense: KnownLabelSet
) -> None:
    def calls() -> list[str]:
        # gRPC's own threads end when their calls do.
        return [t.name for t in threading.enumerate() if "consume_request" in t.name]

    with fragile.client() as client:
        for on_miss in (OnMiss.WAIT, OnMiss.SKIP):
            with reader_of(client, dense, on_miss=on_miss) as reader:
                for batches in (dense.views.batches(BATCH), plan_of(dense)):
                    for _, labels in reader.over(batches):
                        assert check(dense, labels, on_miss) == 0
                        break
                asked = reader.ask(dense.views[:5])
                with pytest.raises(InvalidRequestError, match="take result\\(\\) or cancel"):
                    reader.ask(dense.views[:5])
                asked.cancel()
                left = reader.ask(dense.views[5:9])
            for cancelled in (asked, left):
                with pytest.raises(
                    InvalidRequestError, match="request was cancelled; ask for the views again"
                ):
                    cancelled.result()
            assert check(dense, reader.ask(dense.views[:5]).result(), on_miss) == 0
        assert [t.name for t in threading.enumerate() if "labelcast" in t.name] == []
        eventually(lambda: calls() == [], "gRPC reads no requests any more")
        eventually(lambda: scrape(fragile)["labelcast_open_streams"] == 0, "no stream is open")


class Numbered:
    """A data set that asks for one label, and a collate function that asks for a batch.

    The views of odd numbers are not stored.
    """

    def __init__(self, reader: LoopReader, views: Views) -> None:
        self._reader = reader
        self._views = Views(views.sample_ids, views.seeds + np.arange(len(views), dtype="u4") % 2)

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, number: int) -> tuple[int, ReadLabels]:
        return number, self._reader(self._views[number : number + 1])

    def collate(self, items: list[tuple[int, ReadLabels]]) -> tuple[list[ReadLabels], ReadLabels]:
        at = np.array([number for number, _ in items])
        return [labels for _, labels in items], self._reader.ask(self._views[at]).result()


@pytest.mark.timeout(200)
@pytest.mark.parametrize("on_miss", POLICIES)
def test_workers_of_a_data_loader_read(
    fragile: RunningService, dense: KnownLabelSet, on_miss: OnMiss
) -> None:
    workers = 1 if on_miss is OnMiss.SKIP else 0
    with fragile.client() as client:
        reader = reader_of(client, dense, on_miss=on_miss, miss_not_stored=True, device="cpu")
        assert len(reader(dense.views[:3]).present) == 3
        numbered = Numbered(reader, dense.views[:12])
        loader: DataLoader[Any] = DataLoader(
            numbered,  # type: ignore[arg-type]
            batch_size=6,
            num_workers=workers,
            collate_fn=numbered.collate,
            multiprocessing_context="forkserver" if workers else None,
        )
        for alone, together in loader:
            assert isinstance(together.values, torch.Tensor)
            assert together.present.tolist() == [True, False] * 3
            assert check(dense, together, on_miss) == 3
            assert sum(check(dense, one, on_miss) for one in alone) == 3
        # Each process counts for itself.
        assert reader.missed == ({} if workers else {"view_not_found": 12})
        refusing = reader_of(client, dense, on_miss=on_miss)
        with pytest.raises(ViewNotFoundError):
            refusing(numbered._views[:4])
