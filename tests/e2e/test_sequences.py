"""Label sets of token sequences over a service: by spans, by plan, and what is refused of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast import (
    AsyncLabelClient,
    LabelClient,
    Representation,
    Views,
)
from labelcast.errors import ViewNotFoundError
from labelcast.label_set_directory import LabelSetDirectory
from tests.e2e import tampering as do
from tests.e2e.hostile_peer import Fault, hostile_peer
from tests.e2e.running_service import RunningService
from tests.e2e.sequences import LENGTHS, by_sequence
from tests.factories.sequence_sets import make_sequence_set

pytestmark = pytest.mark.e2e

CODES = Representation.codes()
WIDTH, VOCABULARY = 8, 50


class Sequences:
    """A pushed label set, and what every right reader must be given."""

    def __init__(self, on_disk: LabelSetDirectory) -> None:
        self.on_disk = on_disk
        self.digest = on_disk.digest
        self.views = on_disk.index().segments[0].views()
        self._rows = on_disk.gather(self.views)

    def rows(self, views: Views) -> NDArray[np.uint8]:
        at, known = self.on_disk.index().segments[0].rows(views)
        assert known.all()
        return self._rows[at]

    def read(self, address: str, batches: Any, patience: float = 20.0, **more: Any) -> int:
        with LabelClient(address, reconnect_seconds=patience, **more) as client:
            seen = 0
            for batch in client.open(self.digest).stream(batches, CODES):
                np.testing.assert_array_equal(batch.rows, self.rows(batch.views))
                seen += len(batch.views)
        return seen


@pytest.fixture(scope="module")
def masks() -> dict[str, NDArray[np.bool_] | None]:
    return {"whole": None, "masked": np.arange(sum(LENGTHS)) % 5 != 2}


@pytest.fixture(scope="module", params=["whole", "masked"])
def known(
    request: pytest.FixtureRequest,
    service: RunningService,
    tmp_path_factory: pytest.TempPathFactory,
    masks: dict[str, NDArray[np.bool_] | None],
) -> Sequences:
    labelled = masks[request.param]
    if labelled is not None:
        # No sequence loses all its labels.
        labelled[np.cumsum(LENGTHS) - 1] = True
    made, _ = make_sequence_set(
        tmp_path_factory.mktemp("sequences"), lengths=LENGTHS, labelled=labelled
    )
    service.push(made, f"sequences-{request.param}")
    return Sequences(made)


def test_sequences_come_by_spans_in_few_bytes(service: RunningService, known: Sequences) -> None:
    sequences = by_sequence(known.views)
    with service.client() as client:
        label_set = client.open(known.digest)
        before = client.wire_bytes.sent
        seen = list(label_set.stream(reversed(sequences), CODES))
        sent = client.wire_bytes.sent - before
        some = client.labels(label_set, sequences[7][2:], CODES)
    for batch, views in zip(seen, reversed(sequences), strict=True):
        assert batch.views == views
        np.testing.assert_array_equal(batch.rows, known.rows(views))
    np.testing.assert_array_equal(some.rows, known.rows(sequences[7][2:]))
    is_whole = len(known.views) == sum(LENGTHS)
    # Listed, each view would take 3 bytes.
    assert sent < (3 if not is_whole else 0.4) * len(known.views)


async def test_an_asynchronous_client_asks_alike(service: RunningService, known: Sequences) -> None:
    sequences = by_sequence(known.views)
    async with AsyncLabelClient(service.grpc) as client:
        label_set = await client.open(known.digest)
        some = await client.labels(label_set, sequences[3], CODES)
        np.testing.assert_array_equal(some.rows, known.rows(sequences[3]))
        plan = await label_set.sequence_plan(epochs=1, order_key=3)
        assert list(plan.batches(sequences=4)) == list(
            known.on_disk.sequence_plan(epochs=1, order_key=3).batches(sequences=4)
        )
        for batches, count in (
            (plan.batches(sequences=4), len(plan)),
            (reversed(sequences), len(known.views)),
        ):
            seen = 0
            async for batch in label_set.stream(batches, CODES):
                np.testing.assert_array_equal(batch.rows, known.rows(batch.views))
                seen += len(batch.views)
            assert seen == count


@pytest.mark.parametrize("cut", [{"sequences": 7}, {"tokens": 100}], ids=["sequences", "tokens"])
@pytest.mark.parametrize("num_ranks", [1, 3])
def test_a_plan_gives_whole_sequences(
    service: RunningService, known: Sequences, cut: dict[str, int], num_ranks: int
) -> None:
    plan = known.on_disk.sequence_plan(
        epochs=3, order_key=5, rank=num_ranks - 1, num_ranks=num_ranks
    )
    batches = plan.batches(**cut)
    wanted = list(batches)
    with service.client() as client:
        label_set = client.open(known.digest)
        before = client.wire_bytes.sent
        for batch, views in zip(label_set.stream(batches, CODES), wanted, strict=True):
            assert batch.views == views
            np.testing.assert_array_equal(batch.rows, known.rows(views))
        assert client.wire_bytes.sent - before < 700
    assert sum(map(len, wanted)) == len(plan)
    if num_ranks == 1:
        assert len(plan) == 3 * len(known.views)


@pytest.mark.parametrize("always", [False, True])
def test_a_stream_of_a_plan_goes_on_where_it_broke(
    service: RunningService, known: Sequences, always: bool
) -> None:
    plan = known.on_disk.sequence_plan(epochs=8, order_key=2)
    fault = Fault("StreamPlan", "replies", 1, do.drop, always=always)
    with hostile_peer(service.grpc, fault) as peer:
        assert known.read(peer.address, plan.batches(sequences=9)) == len(plan)
        assert peer.faults >= 1


def test_lost_requests_of_spans_are_noticed(service: RunningService, known: Sequences) -> None:
    batches = by_sequence(known.views)
    with hostile_peer(service.grpc, Fault("StreamLabels", "requests", 1, do.drop)) as peer:
        assert known.read(peer.address, batches, rows_in_flight=128) == len(known.views)
        assert peer.faults == 1


def test_a_cache_of_the_machine_gives_the_same(
    service: RunningService, known: Sequences, tmp_path: Path
) -> None:
    plan = known.on_disk.sequence_plan(epochs=4, order_key=1, rank=1, num_ranks=2)
    kept: dict[str, Any] = {"cache_directory": tmp_path, "fetch_shards": "always"}
    assert known.read(service.grpc, plan.batches(sequences=5), **kept) == len(plan)
    assert known.read(service.grpc, by_sequence(known.views), **kept) == len(known.views)


def test_positions_beyond_a_sequence_are_refused(service: RunningService, known: Sequences) -> None:
    length = LENGTHS[4]
    beyond = Views.of_spans([22], length - 1, 3)
    with service.client() as client:
        label_set = client.open(known.digest)
        with pytest.raises(ViewNotFoundError) as caught:
            client.labels(label_set, beyond, CODES)
        assert f"no label at position {length} of sample ID 22, a sequence of {length} pos" in str(
            caught.value
        )
        assert caught.value.facts["length"] == str(length)
        with pytest.raises(ViewNotFoundError, match="no sample ID 23"):
            client.labels(label_set, Views.of_spans([23], 0, 2), CODES)
        # What the error says.
        labels = client.labels(label_set, beyond[:1], CODES)
        np.testing.assert_array_equal(labels.rows, known.rows(beyond[:1]))


def test_ignored_positions_are_told_from_such_beyond(
    service: RunningService, known: Sequences
) -> None:
    if len(known.views) == sum(LENGTHS):
        return
    lacking = np.setdiff1d(
        np.arange(LENGTHS[0]), known.views.seeds[known.views.sample_ids == 10]
    ).tolist()
    with service.client() as client, pytest.raises(ViewNotFoundError, match="some are ignored"):
        client.labels(client.open(known.digest), Views.of([10], lacking[:1]), CODES)
