"""Labels by plan, over a service: the same as of listed views, whatever happens on the way."""

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import pytest

from labelcast import AsyncLabelClient, DeliveredLabels, LabelClient, Representation, wire
from labelcast.errors import (
    InvalidRequestError,
    LabelcastError,
    ProtocolError,
    ViewNotFoundError,
)
from labelcast.plans import Padding, Plan, PlanBatches
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from tests.e2e import tampering as do
from tests.e2e.hostile_peer import Fault, hostile_peer
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.plan_faults import cases
from tests.e2e.refusal import refusal
from tests.e2e.running_service import RunningService
from tests.e2e.spelling_sets import SpellingSet, spelling_set

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()
CLIENTS = {"sync": CODES, "async": LOGITS}
CASES = {case.name: case for case in cases()}
SEEDS = [6, 0, 3]
NO_FAULT = Fault("GetLabelSet", "replies", 10**9, do.drop)


@pytest.fixture(scope="module")
def listed_ids(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> SpellingSet:
    made = spelling_set(tmp_path_factory.mktemp("spelling"), 13)
    service.push(made.on_disk, "plan-listed")
    return made


@pytest.fixture(scope="module")
def consecutive_ids(
    service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> SpellingSet:
    made = spelling_set(tmp_path_factory.mktemp("spelling"), 14, first_and_step=(2**40, 1))
    service.push(made.on_disk, "plan-consecutive")
    return made


@pytest.fixture(params=["listed_ids", "consecutive_ids"])
def spelling(request: pytest.FixtureRequest) -> SpellingSet:
    found: SpellingSet = request.getfixturevalue(request.param)
    return found


def plan_of(label_set: SpellingSet, seeds: list[int] | range = SEEDS, **more: Any) -> Plan:
    ids = label_set.on_disk.index().sample_ids
    return Plan(ids, seeds, **{"order_key": 9, **more})


class Reading:
    """A client that reads a plan, and how many rows it has been given."""

    def __init__(
        self, label_set: SpellingSet, batches: PlanBatches[Plan], client: str = "sync"
    ) -> None:
        self._label_set = label_set
        self._batches = batches
        self._client = client
        self.rows = batches.start

    def run(self, address: str, reconnect_seconds: float = 60.0) -> LabelcastError | None:
        """Read until the end; what it ended with."""
        try:
            if self._client == "async":
                asyncio.run(self._read_asynchronously(address, reconnect_seconds))
            else:
                self._read(address, reconnect_seconds)
        except LabelcastError as error:
            return error
        return None

    def _read(self, address: str, patience: float) -> None:
        with LabelClient(address, reconnect_seconds=patience) as client:
            label_set = client.open(self._label_set.digest)
            for batch in label_set.stream(self._batches, CLIENTS[self._client]):
                self._check(batch)

    async def _read_asynchronously(self, address: str, patience: float) -> None:
        async with AsyncLabelClient(address, reconnect_seconds=patience) as client:
            label_set = await client.open(self._label_set.digest)
            async for batch in label_set.stream(self._batches, CLIENTS[self._client]):
                self._check(batch)

    def _check(self, batch: DeliveredLabels) -> None:
        end = self.rows + len(batch.rows)
        views = self._batches.plan.views(self.rows, end)
        assert batch.views == views
        segment = self._label_set.on_disk.index().segments[0]
        at, known = segment.rows(views)
        assert known.all()
        assert batch.rows.tobytes() == self._label_set.expected(at)
        self.rows = end


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("size", [1, 37, 128, 300, 5000])
def test_a_plan_gives_what_its_views_give(
    service: RunningService, spelling: SpellingSet, client: str, size: int
) -> None:
    plan = plan_of(spelling, rank=1, num_ranks=2)
    reading = Reading(spelling, plan.batches(size, start=41), client)
    assert reading.run(service.grpc) is None
    assert reading.rows == len(plan) == 450


def test_a_few_bytes_ask_for_many_epochs(
    service: RunningService, consecutive_ids: SpellingSet
) -> None:
    plan = plan_of(consecutive_ids, [0, 3, 6] * 20)
    with service.client() as client:
        label_set = client.open(consecutive_ids.digest)
        before = client.wire_bytes.sent
        rows = sum(len(batch.rows) for batch in label_set.stream(plan.batches(256), CODES))
        assert rows == len(plan) == 18_000
        assert client.wire_bytes.sent - before < 250


@pytest.mark.parametrize("padding", Padding)
def test_ranks_together_read_each_epoch_once(
    service: RunningService, spelling: SpellingSet, padding: Padding
) -> None:
    seen: Counter[tuple[int, int]] = Counter()
    for rank in range(7):
        plan = plan_of(spelling, rank=rank, num_ranks=7, padding=padding)
        with service.client() as client:
            label_set = client.open(spelling.digest)
            for batch in label_set.stream(plan.batches(16), CODES):
                views = batch.views
                seen.update(zip(views.sample_ids.tolist(), views.seeds.tolist(), strict=True))
    left_out, again = {Padding.DROP: (6, 0), Padding.REPEAT: (0, 1), Padding.UNEVEN: (0, 0)}[
        padding
    ]
    assert len(seen) == 3 * (300 - left_out)
    assert sum(seen.values()) - len(seen) == 3 * again


def test_a_directory_reads_a_plan_too(spelling: SpellingSet) -> None:
    plan = plan_of(spelling)
    streamed = list(spelling.on_disk.stream(plan.batches(100), CODES))
    views = plan.views(0, len(plan))
    at, _ = spelling.on_disk.index().segments[0].rows(views)
    assert b"".join(batch.rows.tobytes() for batch in streamed) == spelling.expected(at)


def test_a_plan_whose_lists_are_too_long_is_read_as_views(
    service: RunningService, spelling: SpellingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labelcast.wire_plan.MAX_LISTED", 2)
    plan = plan_of(spelling)
    with hostile_peer(service.grpc, NO_FAULT, knows_plans=False) as old:
        reading = Reading(spelling, plan.batches(64))
        assert reading.run(old.address) is None
    assert reading.rows == len(plan)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_service_of_before_plans_refuses_them(
    service: RunningService, spelling: SpellingSet, client: str
) -> None:
    plan = plan_of(spelling)
    with hostile_peer(service.grpc, NO_FAULT, knows_plans=False) as old:
        reading = Reading(spelling, plan.batches(64), client)
        error = reading.run(old.address)
        assert isinstance(error, ProtocolError)
        assert "one version" in error.message
        assert reading.rows == 0
        # What the error says: views, listed.
        with LabelClient(old.address) as listing:
            label_set = listing.open(spelling.digest)
            batches = iter(plan.batches(64))
            assert sum(len(one.rows) for one in label_set.stream(batches, CODES)) == len(plan)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("case", CASES)
def test_a_stream_survives_one_fault(
    service: RunningService, listed_ids: SpellingSet, case: str, client: str
) -> None:
    known = CASES[case]
    plan = plan_of(listed_ids, rank=0, num_ranks=2)
    reading = Reading(listed_ids, plan.batches(64), client)
    at = 1 if known.direction == "replies" else 0
    fault = Fault("StreamPlan", known.direction, at, known.tamper)
    with hostile_peer(service.grpc, fault) as peer:
        error = reading.run(peer.address)
        assert peer.faults == 1
        calls = peer.calls
    if known.resumes:
        assert error is None
        assert reading.rows == len(plan)
        assert calls == 2
    else:
        assert isinstance(error, known.error)
        assert calls == 1


@pytest.mark.parametrize("case", CASES)
def test_a_fault_in_every_stream_ends_in_its_error(
    service: RunningService, listed_ids: SpellingSet, case: str
) -> None:
    known = CASES[case]
    plan = plan_of(listed_ids, rank=0, num_ranks=2)
    reading = Reading(listed_ids, plan.batches(64))
    fault = Fault("StreamPlan", known.direction, 0, known.tamper, always=True)
    with hostile_peer(service.grpc, fault) as peer:
        error = reading.run(peer.address, 0.15)
    if known.some_rows:
        # Each stream brings some right rows; of a last request, cut by one, nothing is left.
        assert error is None or isinstance(error, InvalidRequestError)
    else:
        assert type(error) is known.error
        assert reading.rows == 0


def requests() -> dict[str, tuple[pb.StreamPlanRequest, str]]:
    """Requests that no client of ours sends, and what they are told."""

    def request(**changed: Any) -> pb.StreamPlanRequest:
        plan: dict[str, Any] = {
            "sample_range": pb.Range(first=2**40, count=300),
            "seed_range": pb.Range(first=0, count=1),
            "rank": 0,
            "num_ranks": 1,
            "padding": pb.PADDING_DROP,
        }
        top: dict[str, Any] = {"first_row": 0, "num_rows": 1}
        top |= {name: changed.pop(name) for name in top if name in changed}
        plan |= changed
        given = {name: value for name, value in plan.items() if value is not None}
        return pb.StreamPlanRequest(plan=pb.Plan(**given), **top)

    def column(count: int, width: int, data: bytes) -> pb.List:
        return pb.List(count=count, values=pb.Column(width=width, data=data))

    later = request()
    later.plan.MergeFromString(b"\x78\x01")
    nested = request()
    nested.plan.sample_range.MergeFromString(b"\x78\x01")
    shared = column(2**20 + 1, 0, bytes(8))
    return {
        "no plan": (pb.StreamPlanRequest(num_rows=1), "padding rule"),
        "no samples": (request(sample_range=None), "needs its samples"),
        "no seeds": (request(seed_range=None), "needs its seeds"),
        "no ranks": (request(num_ranks=0), "num_ranks must be from 1"),
        "rank outside": (request(rank=1), "rank must be from 0 to 0, not 1"),
        "very high rank": (request(rank=2**32 - 1, num_ranks=2**32 - 1), "rank must be from"),
        "unknown padding": (request(padding=9), "padding rule"),
        "no padding": (request(padding=None), "padding rule"),
        "rank without rows": (request(rank=400, num_ranks=500), "without rows"),
        "empty range": (request(sample_range=pb.Range(first=5)), "4294967296 samples, not 0"),
        "2**63 samples": (
            request(sample_range=pb.Range(count=2**63)),
            "samples, not 9223372036854775808",
        ),
        "IDs that overflow": (
            request(sample_range=pb.Range(first=2**64 - 1, count=2)),
            "a sample ID",
        ),
        "2**63 epochs": (request(seed_range=pb.Range(count=2**63)), "1048576 seeds"),
        "seeds that overflow": (
            request(seed_range=pb.Range(first=2**32 - 1, count=2)),
            "augmentation seed",
        ),
        "a seed of 33 bits": (
            request(seed_range=None, seed_list=column(1, 8, (2**32).to_bytes(8, "little"))),
            "augmentation seed",
        ),
        "a list of nothing": (
            request(sample_range=None, sample_list=pb.List()),
            "1048576 samples, not 0",
        ),
        "a list too long": (
            request(sample_range=None, sample_list=shared),
            "1048576 samples, not 1048577",
        ),
        "a list of other length": (
            request(sample_range=None, sample_list=column(3, 1, b"ab")),
            "are not 3 values",
        ),
        "no rows": (request(num_rows=0), "asks for 0 rows"),
        "rows beyond the end": (request(num_rows=301), "asks for 301 rows from row 0"),
        "a position beyond the end": (request(first_row=300), "from row 300 on"),
        "a position far beyond": (
            request(first_row=2**64 - 1, num_rows=2**64 - 1),
            "of a plan of 300 rows",
        ),
        "a field of a later version": (later, LATER),
        "a field within a field": (nested, LATER),
    }


LATER = "fields that this service does not know; compare versions, or stream lists of views"


@pytest.mark.parametrize("name", requests())
def test_impossible_plans_are_refused(
    stub: labels_pb2_grpc.LabelServiceStub, consecutive_ids: SpellingSet, name: str
) -> None:
    request, message = requests()[name]
    request.label_set = consecutive_ids.digest
    request.representation.CopyFrom(wire.representation_to_proto(CODES))
    error = refusal(lambda: list(stub.StreamPlan(request)))
    assert type(error) is InvalidRequestError
    assert message in error.message


def test_a_plan_of_views_that_are_missing_is_refused(
    service: RunningService, consecutive_ids: SpellingSet
) -> None:
    with service.client() as client:
        label_set = client.open(consecutive_ids.digest)
        plan = Plan(range(2**40, 2**40 + 301), [0], order_key=None)
        with pytest.raises(ViewNotFoundError, match=r"no sample ID .* \(row 300 of the request"):
            list(label_set.stream(plan.batches(100), CODES))


@pytest.mark.parametrize("representation", [CODES, LOGITS], ids=["codes", "logits"])
def test_a_stream_survives_its_worker(
    fragile: RunningService, dense: KnownLabelSet, representation: Representation
) -> None:
    plan = Plan(dense.on_disk.index().sample_ids, [0, 3, 6, 9] * 20, order_key=4)
    done, killed = 0, False
    with fragile.client() as client:
        label_set = client.open("dense")
        stop = 6000 if representation is LOGITS else len(plan)
        for batch in label_set.stream(plan.batches(50, stop=stop), representation):
            views = plan.views(done, done + len(batch.rows))
            at, _ = dense.on_disk.index().segments[0].rows(views)
            assert batch.views == views
            dense.check(batch, at, representation)
            done += len(batch.rows)
            if done >= 500 and not killed:
                (worker,) = fragile.processes().workers
                worker.kill()
                worker.wait(100)
                killed = True
    assert done == stop


async def test_an_async_stream_survives_its_worker(
    fragile: RunningService, dense: KnownLabelSet
) -> None:
    plan = Plan(dense.on_disk.index().sample_ids, [0, 3], order_key=4, rank=1, num_ranks=2)
    (worker,) = fragile.processes().workers
    done = 0
    async with fragile.async_client() as client:
        label_set = await client.open("dense")
        async for batch in label_set.stream(plan.batches(50), LOGITS):
            at, _ = dense.on_disk.index().segments[0].rows(batch.views)
            assert batch.views == plan.views(done, done + len(batch.rows))
            dense.check(batch, np.asarray(at), LOGITS)
            done += len(batch.rows)
            if done == 500:
                worker.kill()
    assert done == len(plan)
