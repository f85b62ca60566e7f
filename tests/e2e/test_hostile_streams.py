"""Whatever a peer does to a label stream, no wrong label is delivered, by either client."""

import asyncio
import logging
from dataclasses import replace

import numpy as np
import pytest

from labelcast import AsyncLabelClient, DeliveredLabels, LabelClient, Representation, wire
from labelcast.answer_subject import LabelSubject
from labelcast.checksums import crc32
from labelcast.errors import InvalidRequestError, LabelcastError
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from tests.e2e.hostile_peer import Fault, HostilePeer, hostile_peer
from tests.e2e.running_service import RunningService
from tests.e2e.spelling_sets import CLASSES, REQUEST_ROWS, SpellingSet, spelling_set
from tests.e2e.stream_faults import Case, Told, cases

pytestmark = pytest.mark.e2e

CASES = {case.name: case for case in cases()}
LIES = [name for name, case in CASES.items() if case.lie]
# Each client reads in another form: stored bytes, and what the decoder makes of them.
CLIENTS = {"sync": Representation.codes(), "async": Representation.logits()}
# A window of two requests, each for one batch.
WINDOW = 2 * REQUEST_ROWS


@pytest.fixture(scope="module")
def spelling(
    service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SpellingSet, SpellingSet]:
    made = [spelling_set(tmp_path_factory.mktemp("spelling"), number) for number in (11, 12)]
    for one in made:
        service.push(one.on_disk, f"spelling-{one.number}")
    return made[0], made[1]


@pytest.fixture(params=CLIENTS)
def told(
    request: pytest.FixtureRequest,
    stub: labels_pb2_grpc.LabelServiceStub,
    spelling: tuple[SpellingSet, SpellingSet],
) -> Told:
    views = spelling[0].views[order(spelling[0])]
    return Told(stub, *spelling, representation=CLIENTS[request.param], views=views)


def order(label_set: SpellingSet) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.random.default_rng(5).permutation(len(label_set.views))


class Reading:
    """A client that reads every view, and what it has been given."""

    def __init__(self, told: Told, *, window: int = WINDOW) -> None:
        self._told = told
        self._window = window
        self._expected = told.label_set.expected(order(told.label_set))
        self.rows = 0

    def run(self, address: str, reconnect_seconds: float) -> LabelcastError | None:
        """Read until the end; what it ended with."""
        try:
            if self._told.representation == CLIENTS["async"]:
                asyncio.run(self._read_asynchronously(address, reconnect_seconds))
            else:
                self._read(address, reconnect_seconds)
        except LabelcastError as error:
            return error
        return None

    def _read(self, address: str, patience: float) -> None:
        told = self._told
        with LabelClient(
            address, reconnect_seconds=patience, rows_in_flight=self._window
        ) as client:
            label_set = client.open(told.label_set.digest)
            for batch in client.stream(
                label_set, told.views.batches(REQUEST_ROWS), told.representation
            ):
                self._check(batch)

    async def _read_asynchronously(self, address: str, patience: float) -> None:
        told = self._told
        async with AsyncLabelClient(
            address, reconnect_seconds=patience, rows_in_flight=self._window
        ) as client:
            label_set = await client.open(told.label_set.digest)
            batches = told.views.batches(REQUEST_ROWS)
            async for batch in client.stream(label_set, batches, told.representation):
                self._check(batch)

    def _check(self, batch: DeliveredLabels) -> None:
        stride, end = 2 * CLASSES, self.rows + len(batch.rows)
        assert batch.rows.tobytes() == self._expected[self.rows * stride : end * stride]
        self.rows = end


def writing_hides_the_end(told: Told, case: Case) -> bool:
    """Whether gRPC may tell the client of a broken call instead of how the service ended it.

    grpc.aio does, where it was writing a message just when the call ended; that is taken up again.
    """
    return case.ended_by_service and told.representation == CLIENTS["async"]


def rows_before(peer: HostilePeer, case: Case, number: int | None = None) -> int:
    """Rows of the first call's messages before the one that was tampered with, or number such."""
    at = case.once_at if number is None else number
    if case.direction == "requests":
        return max(at - 1, 0) * REQUEST_ROWS
    replies = peer.passed["replies"][0][:at]
    return sum(pb.StreamLabelsResponse.FromString(reply).rows.count for reply in replies)


@pytest.mark.parametrize("case", CASES)
def test_a_stream_survives_one_fault(
    service: RunningService, told: Told, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    known = CASES[case]
    # All has been asked for before the replies end: of a call that ends while it is writing,
    # grpc.aio tells that it broke, and hides how it ended.
    window = 2 * len(told.views) if case == "replies end" else WINDOW
    reading = Reading(told, window=window)
    fault = Fault("StreamLabels", known.direction, known.once_at, known.tamper(told))
    with (
        caplog.at_level(logging.WARNING, "labelcast.remote"),
        hostile_peer(service.grpc, fault) as peer,
    ):
        error = reading.run(peer.address, 60)
        assert peer.faults == 1
    if not known.resumes and error is not None:
        assert type(error) is known.error
        assert reading.rows <= rows_before(peer, known)
        return
    assert error is None
    assert known.resumes or writing_hides_the_end(told, known)
    assert reading.rows == len(told.views)
    # Caught at the first wrong row: the new stream takes up exactly there.
    assert peer.calls == 2
    assert len(caplog.messages) == 1 or writing_hides_the_end(told, known)
    number = known.once_at + (known.right_rows is None)
    right = rows_before(peer, known, number) + (known.right_rows or 0)
    opening = pb.StreamLabelsRequest.FromString(peer.passed["requests"][1][0])
    assert opening.first_row == right


# Once is enough: patience is counted by what both clients share.
@pytest.mark.parametrize("told", ["sync"], indirect=True)
@pytest.mark.parametrize("case", CASES)
def test_a_fault_in_every_stream_ends_in_its_error(
    service: RunningService, told: Told, case: str
) -> None:
    # Few rows: where each stream brings some, there are as many streams as it takes.
    few = replace(told, views=told.views[: 2 * REQUEST_ROWS])
    known, reading = CASES[case], Reading(few)
    fault = Fault("StreamLabels", known.direction, known.always_at, known.tamper(few), always=True)
    with hostile_peer(service.grpc, fault) as peer:
        error = reading.run(peer.address, 0.15)
        assert peer.faults >= (2 if known.resumes else 1)
    if known.right_rows != 0:
        # Each stream brings some right rows, so that it gets there in the end; of a last request
        # for one row, which is cut by one, nothing is left.
        assert error is None or isinstance(error, InvalidRequestError)
        assert peer.faults > 1
    else:
        assert type(error) is known.error
        assert reading.rows == 0


@pytest.mark.parametrize("case", LIES)
def test_only_the_subject_tells_a_lie(service: RunningService, told: Told, case: str) -> None:
    """Row numbers, lengths and the checksum of the payload all fit what the client waits for."""
    known = CASES[case]
    fault = Fault("StreamLabels", known.direction, known.once_at, known.tamper(told))
    with hostile_peer(service.grpc, fault) as peer:
        assert Reading(told).run(peer.address, 60) is None
        first = rows_before(peer, known)
        replies = map(pb.StreamLabelsResponse.FromString, peer.passed["replies"][0])
        rows = next(reply.rows for reply in replies if reply.rows.first_row == first)
    assert len(rows.payload) == rows.count * 2 * CLASSES
    assert rows.payload_crc32 == crc32(rows.payload)
    wire.rows_from_proto(rows, first_row=rows.first_row, stride=2 * CLASSES)
    asked = told.views[rows.first_row : rows.first_row + rows.count]
    subject = LabelSubject(told.label_set.digest, told.representation)
    assert rows.subject_crc32 != subject.checksum(asked)
