"""Two services behind one client: one that is dead, full or ignorant costs a pause, no label."""

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast import (
    AsyncLabelClient,
    DeliveredLabels,
    LabelClient,
    Plan,
    RemoteLabelSet,
    Representation,
    Views,
)
from labelcast.errors import ContractMismatchError, LabelSetNotFoundError
from labelcast.label_set import Expectation
from tests.e2e.label_sets import KnownLabelSet, identity_label_set, known_label_set
from tests.e2e.running_service import RunningService, eventually
from tests.e2e.scraping import scrape
from tests.e2e.sequences import by_sequence, known_sequences
from tests.factories.names import NAME, Leads, name_that_leads

pytestmark = pytest.mark.e2e

CODES = Representation.codes()
BATCH = 50
MOST_STREAMS = 3
_OPENED = "labelcast_calls_total,get_label_set,ok"
ENVIRONMENT = {"LABELCAST_MAX_STREAMS": str(MOST_STREAMS), "LABELCAST_DRAIN_SECONDS": "1"}


@dataclass(frozen=True)
class Two:
    """Two services, each with a set under the tag `common`, and what they do not share.

    Attributes:
        services: both.
        common: what both have.
        sequences: sequences that both have, under that tag.
        own: what each alone has, both under the tag `moving`.
    """

    services: list[RunningService]
    common: KnownLabelSet
    sequences: KnownLabelSet
    own: list[KnownLabelSet]

    @property
    def addresses(self) -> list[str]:
        return [service.grpc for service in self.services]

    @property
    def name(self) -> str:
        return f"{NAME}:{self.services[0].grpc.rpartition(':')[2]}"

    def client(self, **options: Any) -> LabelClient:
        return LabelClient(",".join(self.addresses), **options)

    def async_client(self, **options: Any) -> AsyncLabelClient:
        return AsyncLabelClient(self.addresses, **options)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    directory = tmp_path_factory.mktemp("two")
    common = known_label_set(directory / "common", "raw", num_samples=1000, num_classes=500)
    sequences = known_sequences(directory / "sequences")
    sets = [identity_label_set(directory / f"own-{n}", n, num_samples=4000) for n in range(2)]
    with ExitStack() as stack:
        one = RunningService(directory / "one", environment=ENVIRONMENT)
        stack.callback(one.clean_up)
        one.start()
        # Under the same port, as servers of one name are.
        options = ("--host", "127.0.0.2", "--grpc-port", one.grpc.rpartition(":")[2])
        other = RunningService(directory / "other", *options, environment=ENVIRONMENT)
        stack.callback(other.clean_up)
        other.start()
        services = [one, other]
        for service, own in zip(services, sets, strict=True):
            service.push(common.on_disk, "common")
            service.push(sequences.on_disk, "sequences")
            service.push(own.on_disk, "moving")
        yield Two(services, common, sequences, sets)
    for service in services:
        assert "Traceback" not in service.log(), service.log()


@pytest.fixture
def leads_to(monkeypatch: pytest.MonkeyPatch) -> Leads:
    return name_that_leads(monkeypatch)


@dataclass
class Reading:
    """A stream that is read batch by batch, each compared with what it must be."""

    known: KnownLabelSet
    batches: Iterator[DeliveredLabels]
    views: Views
    done: int = 0

    def next(self) -> bool:
        """Read one more; whether there was one."""
        batch = next(self.batches, None)
        if batch is None:
            assert self.done == len(self.views)
            return False
        asked = self.views[self.done : self.done + len(batch.rows)]
        assert batch.views == asked
        at, has = self.known.on_disk.index().segments[0].rows(asked)
        assert has.all()
        self.known.check(batch, at, CODES)
        self.done += len(batch.rows)
        return True


def listed(known: KnownLabelSet, label_set: RemoteLabelSet) -> Reading:
    views = shuffled(known)
    return Reading(known, iter(label_set.stream(views.batches(BATCH), CODES)), views)


def shuffled(known: KnownLabelSet) -> Views:
    return known.views[np.random.default_rng(7).permutation(len(known.views))]


def planned(known: KnownLabelSet, label_set: RemoteLabelSet) -> Reading:
    index = known.on_disk.index()
    plan = Plan(index.sample_ids, sorted(set(known.views.seeds.tolist())) * 8, order_key=3)
    return Reading(
        known, iter(label_set.stream(plan.batches(3200), CODES)), plan.views(0, len(plan))
    )


def by_spans(known: KnownLabelSet, label_set: RemoteLabelSet) -> Reading:
    spans = by_sequence(known.views)[::-1]
    return Reading(known, iter(label_set.stream(spans, CODES)), Views.joined(spans))


def planned_sequences(known: KnownLabelSet, label_set: RemoteLabelSet) -> Reading:
    plan = known.on_disk.sequence_plan(epochs=8, order_key=3)
    batches = plan.batches(sequences=7)
    return Reading(known, iter(label_set.stream(batches, CODES)), plan.views(0, len(plan)))


def over_asyncio(
    runner: asyncio.Runner, known: KnownLabelSet, client: AsyncLabelClient, reference: str
) -> Reading:
    views = shuffled(known)
    label_set = runner.run(client.open(reference))
    stream = label_set.stream(views.batches(BATCH), CODES)

    async def following() -> DeliveredLabels | None:
        return await anext(aiter(stream), None)

    return Reading(known, iter(lambda: runner.run(following()), None), views)


def read_all(readings: Iterable[Reading], accidents: Mapping[int, Callable[[], object]]) -> None:
    """Read batch by batch in turn, with accidents after some rounds."""
    left, due = list(readings), dict(accidents)
    for done in itertools.count():
        due.pop(done, lambda: None)()
        left = [reading for reading in left if reading.next()]
        if not left:
            break
    assert not due


def kill_worker(service: RunningService) -> None:
    for worker in service.processes().workers:
        worker.kill()


def opened(two: Two) -> NDArray[np.float64]:
    """How often each service has said what a label set is."""
    return np.array([scrape(service).get(_OPENED, 0.0) for service in two.services])


@pytest.mark.parametrize("by_name", [False, True])
def test_clients_spread_over_both(two: Two, by_name: bool, leads_to: Leads) -> None:
    leads_to("127.0.0.1", "127.0.0.2")
    address = two.name if by_name else ",".join(two.addresses)
    before = opened(two)
    for _ in range(8):
        with LabelClient(address, allow_plaintext=True) as client:
            assert client.open("common").digest == two.common.on_disk.digest
    # A call is counted just after it was answered.
    eventually(lambda: (opened(two) - before).sum() == 8, "every call is counted")
    assert (opened(two) - before).tolist() == [4, 4]


def test_a_set_that_one_server_has_is_found_from_both(two: Two) -> None:
    for own, _ in itertools.product(two.own, range(2)):
        with two.client(rows_in_flight=2 * BATCH) as client:
            label_set = client.open(own.on_disk.digest)
            assert label_set.artifact() == own.on_disk.artifact()
            own.check(client.labels(label_set, own.views[:50], CODES), np.arange(50), CODES)
        with two.client() as client:
            asked = client.ask(own.on_disk, own.views[:50], CODES)
            own.check(asked.result(), np.arange(50), CODES)


def test_a_dead_server_costs_a_pause_even_without_patience(two: Two) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{held.getsockname()[1]}"
        for _ in range(2):  # One of two clients begins with the dead one.
            with LabelClient([dead, two.addresses[0]], reconnect_seconds=0) as client:
                assert client.open("common").digest == two.common.on_disk.digest


async def test_what_no_server_has_is_said_of_each(two: Two) -> None:
    def names_both(error: LabelSetNotFoundError) -> None:
        for address in two.addresses:
            assert f"{address} (label_set_not_found)" in error.message
        assert "\n" not in error.message

    with two.client() as client, pytest.raises(LabelSetNotFoundError) as caught:
        client.open("nowhere:v1")
    names_both(caught.value)
    async with two.async_client() as other:
        with pytest.raises(LabelSetNotFoundError) as caught:
            await other.open("nowhere:v1")
    names_both(caught.value)


def test_a_server_whose_set_is_another_is_named(two: Two) -> None:
    with two.client() as client, pytest.raises(ContractMismatchError) as caught:
        client.open("common", expect=Expectation(num_classes=17))
    assert any(address in caught.value.message for address in two.addresses)


def test_the_digest_that_was_opened_counts_wherever_the_tag_leads(two: Two) -> None:
    """The tag `moving` names another set on each server: neither stream gets the other's rows."""
    with ExitStack() as stack:
        readings = []
        for _ in range(2):
            client = stack.enter_context(two.client(rows_in_flight=2 * BATCH))
            label_set = client.open("moving")
            (known,) = [own for own in two.own if own.on_disk.digest == label_set.digest]
            readings.append(listed(known, label_set))
        assert {id(reading.known) for reading in readings} == {id(own) for own in two.own}
        killed = {
            20: lambda: kill_worker(two.services[0]),
            40: lambda: kill_worker(two.services[1]),
        }
        read_all(readings, dict(killed))


def test_sequences_outlive_killed_servers(two: Two) -> None:
    """Both servers' workers are killed in turn, so that each stream breaks."""
    for service in two.services:
        service.processes()
    with two.client(rows_in_flight=2 * BATCH) as client, two.client(rows_in_flight=400) as other:
        readings = [
            by_spans(two.sequences, client.open("sequences")),
            planned_sequences(two.sequences, other.open("sequences")),
        ]
        killed = {
            20: lambda: kill_worker(two.services[0]),
            40: lambda: kill_worker(two.services[1]),
        }
        read_all(readings, dict(killed))


def test_a_server_without_room_sends_clients_to_another(two: Two) -> None:
    for service in two.services:
        service.processes()
    with two.client(rows_in_flight=2 * BATCH, reconnect_seconds=20) as client:
        label_set = client.open("common")
        readings = [listed(two.common, label_set) for _ in range(2 * MOST_STREAMS)]
        read_all(readings, {})


def test_streams_outlive_a_killed_and_a_stopped_server(two: Two, leads_to: Leads) -> None:
    """Every stream meets one of the accidents in its midst, whichever server it is at.

    The last test here: one service is not started again.
    """
    for service in two.services:
        service.processes()
    one, other = two.services

    def one_comes_back() -> None:
        one.start()
        one.processes()

    leads_to("127.0.0.1", "127.0.0.2")
    by_name = LabelClient(two.name, allow_plaintext=True, rows_in_flight=2 * BATCH)
    with two.client() as client, by_name, asyncio.Runner() as runner:
        asynchronous = two.async_client(rows_in_flight=2 * BATCH)
        readings = [
            listed(two.common, by_name.open("common")),
            planned(two.common, client.open("common")),
            over_asyncio(runner, two.common, asynchronous, "common"),
        ]
        accidents = {20: one.kill_all, 30: one_comes_back, 50: other.stop}
        read_all(readings, accidents)
        runner.run(asynchronous.close())
