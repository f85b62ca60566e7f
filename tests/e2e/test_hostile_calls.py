"""Whatever a peer does to a unary call or a blob, nothing wrong is delivered, by either client."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from labelcast import AsyncLabelClient, LabelClient, Representation, Views, wire
from labelcast.errors import (
    DigestMismatchError,
    InvalidRequestError,
    LabelcastError,
    ProtocolError,
    WrongSubjectError,
)
from labelcast.label_set import MissingViews
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from tests.e2e import tampering as do
from tests.e2e.hostile_peer import Fault, Tamper, hostile_peer
from tests.e2e.running_service import RunningService
from tests.e2e.spelling_sets import SpellingSet, spelling_set

pytestmark = pytest.mark.e2e

CODES = Representation.codes()
CLIENTS = {"sync": LabelClient, "async": AsyncLabelClient}


@dataclass(frozen=True, eq=False)
class Sets:
    """What is asked, and what a liar knows."""

    stub: labels_pb2_grpc.LabelServiceStub
    mine: SpellingSet
    other: SpellingSet

    @property
    def at(self) -> Any:
        return np.random.default_rng(3).permutation(len(self.mine.views))[:300]

    @property
    def views(self) -> Views:
        return self.mine.views[self.at]

    @property
    def partly_missing(self) -> Views:
        """Every third view has a seed that is not stored."""
        seeds = self.views.seeds.copy()
        seeds[::3] = 1
        return Views(self.views.sample_ids, seeds)


@pytest.fixture(scope="module")
def sets(
    service: RunningService,
    stub: labels_pb2_grpc.LabelServiceStub,
    tmp_path_factory: pytest.TempPathFactory,
) -> Sets:
    made = [spelling_set(tmp_path_factory.mktemp("spelling"), number) for number in (11, 12)]
    for one in made:
        service.push(one.on_disk, f"spelling-{one.number}")
    return Sets(stub, made[0], made[1])


def get_label_set(client: Any, sets: Sets) -> Any:
    return client.open(sets.mine.digest)


def get_labels(client: Any, sets: Sets) -> Any:
    return _with_label_set(client, sets, lambda it: client.labels(it, sets.views, CODES))


def resolve_views(client: Any, sets: Sets) -> Any:
    return _with_label_set(
        client, sets, lambda it: client.resolve(it, sets.partly_missing, MissingViews.DROP)
    )


def get_blob(client: Any, sets: Sets) -> Any:
    ref = sets.mine.on_disk.manifest.segments[0].codes.shards[0].data

    def read(label_set: Any) -> Any:
        pieces = client.blob(label_set, ref)
        return _joined(pieces) if isinstance(client, AsyncLabelClient) else b"".join(pieces)

    return _with_label_set(client, sets, read)


def _with_label_set(client: Any, sets: Sets, then: Callable[[Any], Any]) -> Any:
    async def asynchronously() -> Any:
        return await then(await client.open(sets.mine.digest))

    if isinstance(client, AsyncLabelClient):
        return asynchronously()
    return then(client.open(sets.mine.digest))


async def _joined(pieces: Any) -> bytes:
    return b"".join([piece async for piece in pieces])


ASK = {
    "GetLabelSet": get_label_set,
    "GetLabels": get_labels,
    "ResolveViews": resolve_views,
    "GetBlob": get_blob,
}


def check(method: str, answer: Any, sets: Sets) -> None:
    """Assert that an answer is the right one."""
    match method:
        case "GetLabelSet":
            assert answer.digest == sets.mine.digest
        case "GetLabels":
            assert answer.rows.tobytes() == sets.mine.expected(sets.at)
        case "ResolveViews":
            found, rows = answer
            stored = np.flatnonzero(np.arange(len(sets.views)) % 3)
            assert rows.tolist() == stored.tolist()
            assert found.sample_ids.tolist() == sets.views.sample_ids[stored].tolist()
            assert found.seeds.tolist() == sets.views.seeds[stored].tolist()
        case _:
            assert answer == sets.mine.on_disk.read_blob(
                sets.mine.on_disk.manifest.segments[0].codes.shards[0].data
            )


@dataclass(frozen=True, eq=False)
class Case:
    """One fault; `error` is raised if it happens to every attempt."""

    method: str
    name: str
    direction: str
    tamper: Callable[[Sets], Tamper]
    error: type[LabelcastError]
    at: int = 0
    resumes: bool = True

    def __str__(self) -> str:
        return f"{self.method} {self.direction} {self.name}"


def _changed(kind: Any, change: Callable[[Any, Sets], None]) -> Callable[[Sets], Tamper]:
    return lambda sets: do.rewrite(kind, lambda message: change(message, sets))


def _as_if_asked(
    method: str, kind: Any, change: Callable[[Any, Sets], None], ask: Callable[[Sets], Any]
) -> Callable[[Sets], Tamper]:
    """The honest answer to another request."""

    def make(sets: Sets) -> Tamper:
        def answer(_: bytes) -> bytes:
            request = ask(sets)
            change(request, sets)
            content: bytes = getattr(sets.stub, method)(request).SerializeToString()
            return content

        return do.replaced(answer)

    return make


def _label_set(message: Any, sets: Sets) -> None:
    message.label_set = sets.other.digest


def _logits(message: Any, _: Sets) -> None:
    message.representation.CopyFrom(wire.representation_to_proto(Representation.logits()))


def _views(change: Callable[[Views], Views]) -> Callable[[Any, Sets], None]:
    return lambda message, _: do.asking(change)(message)


def _rule(message: Any, _: Sets) -> None:
    message.missing = pb.MISSING_DRAW


def _labels_request(sets: Sets) -> pb.GetLabelsRequest:
    return pb.GetLabelsRequest(
        label_set=sets.mine.digest,
        representation=wire.representation_to_proto(CODES),
        views=wire.views_to_proto(sets.views),
    )


def _resolve_request(sets: Sets) -> pb.ResolveViewsRequest:
    return pb.ResolveViewsRequest(
        label_set=sets.mine.digest,
        views=wire.views_to_proto(sets.partly_missing),
        missing=pb.MISSING_DROP,
    )


def _other_reference(message: Any, sets: Sets) -> None:
    message.reference = sets.other.digest


def _claims(message: Any, sets: Sets) -> None:
    """Another label set, under the name that was asked for."""
    message.CopyFrom(sets.stub.GetLabelSet(pb.GetLabelSetRequest(reference=sets.other.digest)))
    message.reference = sets.mine.digest


def _other_manifest(message: Any, sets: Sets) -> None:
    _claims(message, sets)
    message.digest = sets.mine.digest


def _without_part(message: Any, _: Sets) -> None:
    del message.parts[1]


def _part_twice(message: Any, _: Sets) -> None:
    message.parts.insert(1, message.parts[0])


def _parts_changed_places(message: Any, _: Sets) -> None:
    first, second = pb.LabelRows(), pb.LabelRows()
    first.CopyFrom(message.parts[0])
    second.CopyFrom(message.parts[1])
    first.first_row, second.first_row = second.first_row, first.first_row
    message.parts[0].CopyFrom(second)
    message.parts[1].CopyFrom(first)


def _row_less(message: Any, _: Sets) -> None:
    """A resolved view is left out, with every column to fit."""
    count = message.views.count
    for column in (message.views.sample_ids, message.views.seeds, message.rows):
        if column.width:
            column.data = column.data[: -column.width]
    message.views.count = count - 1


def _moved(message: Any, _: Sets) -> None:
    message.offset += 1


def _beyond(message: Any, _: Sets) -> None:
    message.offset += 2**40


def cases() -> list[Case]:
    wrong, broken = WrongSubjectError, ProtocolError
    set_request, set_reply = pb.GetLabelSetRequest, pb.GetLabelSetResponse
    request, reply = pb.GetLabelsRequest, pb.GetLabelsResponse
    ask, resolved = pb.ResolveViewsRequest, pb.ResolveViewsResponse
    blob, piece = pb.GetBlobRequest, pb.GetBlobResponse
    found: list[Case] = []

    def add(method: str, direction: str, *some: tuple[str, Callable[[Sets], Tamper], Any]) -> None:
        found.extend(Case(method, name, direction, tamper, error) for name, tamper, error in some)

    add("GetLabelSet", "requests", ("other", _changed(set_request, _other_reference), wrong))
    add(
        "GetLabelSet",
        "replies",
        ("cut", lambda _: do.truncate, broken),
        ("claimed", _changed(set_reply, _claims), wrong),
        ("other manifest", _changed(set_reply, _other_manifest), DigestMismatchError),
    )
    for name, change in (
        ("other set", _label_set),
        ("other IDs", _views(do.other_ids)),
        ("other seeds", _views(do.other_seeds)),
        ("other order", _views(do.rotated)),
    ):
        add("GetLabels", "requests", (name, _changed(request, change), wrong))
        lie = _as_if_asked("GetLabels", request, change, _labels_request)
        add("GetLabels", "replies", (name, lie, wrong))
        add("ResolveViews", "requests", (name, _changed(ask, change), wrong))
        lie = _as_if_asked("ResolveViews", ask, change, _resolve_request)
        add("ResolveViews", "replies", (name, lie, wrong))
    add("GetLabels", "requests", ("other form", _changed(request, _logits), wrong))
    add("GetLabels", "requests", ("a row less", _changed(request, _views(do.without_last)), broken))
    add(
        "GetLabels",
        "replies",
        ("cut", lambda _: do.truncate, broken),
        ("part lost", _changed(reply, _without_part), broken),
        ("part twice", _changed(reply, _part_twice), broken),
        ("parts change places", _changed(reply, _parts_changed_places), wrong),
        ("nothing", lambda _: do.replaced(lambda _: b""), broken),
    )
    add("ResolveViews", "requests", ("other rule", _changed(ask, _rule), wrong))
    add(
        "ResolveViews",
        "replies",
        ("cut", lambda _: do.truncate, broken),
        ("a row less", _changed(resolved, _row_less), wrong),
        ("nothing", lambda _: do.replaced(lambda _: b""), broken),
    )
    add(
        "GetBlob",
        "requests",
        ("moved", _changed(blob, _moved), broken),
        ("beyond the end", _changed(blob, _beyond), broken),
    )
    add(
        "GetBlob",
        "replies",
        ("lost", lambda _: do.drop, broken),
        ("overtaken", lambda _: do.swap, broken),
        ("cut", lambda _: do.truncate, broken),
        ("moved", _changed(piece, _moved), broken),
        ("end", lambda _: do.end_before, broken),
    )
    for one in ("GetLabelSet", "GetLabels", "ResolveViews"):
        # A call that ends well without its reply: gRPC's clients return None.
        add(one, "replies", ("lost", lambda _: do.drop, broken))
    truncated = [("GetLabels", "cut"), ("ResolveViews", "cut"), ("GetLabelSet", "cut")]
    found.extend(
        Case(method, name, "requests", lambda _: do.truncate, InvalidRequestError, resumes=False)
        for method, name in truncated
    )
    return found


def run(kind: str, address: str, method: str, sets: Sets, patience: float) -> Any:
    if kind == "sync":
        with LabelClient(address, reconnect_seconds=patience) as client:
            return ASK[method](client, sets)

    async def asynchronously() -> Any:
        async with AsyncLabelClient(address, reconnect_seconds=patience) as client:
            return await ASK[method](client, sets)

    return asyncio.run(asynchronously())


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("case", [case for case in cases() if case.resumes], ids=str)
def test_a_call_survives_one_fault(
    service: RunningService, sets: Sets, kind: str, case: Case
) -> None:
    fault = Fault(case.method, case.direction, case.at, case.tamper(sets))
    with hostile_peer(service.grpc, fault) as peer:
        check(case.method, run(kind, peer.address, case.method, sets, 60), sets)
        assert peer.calls == 2
        assert peer.faults == 1


@pytest.mark.parametrize("case", cases(), ids=str)
def test_a_fault_in_every_call_ends_in_its_error(
    service: RunningService, sets: Sets, case: Case
) -> None:
    """By one client: patience is counted by what both share."""
    fault = Fault(case.method, case.direction, case.at, case.tamper(sets), always=True)
    with hostile_peer(service.grpc, fault) as peer:
        with pytest.raises(LabelcastError) as caught:
            run("sync", peer.address, case.method, sets, 0.15)
        assert peer.faults == peer.calls
        assert peer.calls >= 2 if case.resumes else peer.calls == 1
    assert type(caught.value) is case.error


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("tamper", [do.drop, do.duplicate, do.swap, do.truncate, do.end_before])
def test_a_blob_goes_on_where_it_was_right(
    service: RunningService, sets: Sets, kind: str, tamper: Tamper
) -> None:
    fault = Fault("GetBlob", "replies", 2, tamper)
    with hostile_peer(service.grpc, fault) as peer:
        check("GetBlob", run(kind, peer.address, "GetBlob", sets, 60), sets)
        assert peer.faults == 1
        passed, (_, again) = peer.passed["replies"][0], peer.passed["requests"]
    right = passed[: 3 if tamper is do.duplicate else 2]
    offset = sum(len(pb.GetBlobResponse.FromString(one).data) for one in right)
    assert pb.GetBlobRequest.FromString(again[0]).offset == offset


def test_a_blob_of_other_bytes_is_refused(service: RunningService, sets: Sets) -> None:
    def flip(piece: pb.GetBlobResponse) -> None:
        piece.data = bytes([piece.data[0] ^ 1]) + piece.data[1:]

    fault = Fault("GetBlob", "replies", 0, do.rewrite(pb.GetBlobResponse, flip))
    with (
        hostile_peer(service.grpc, fault) as peer,
        LabelClient(peer.address, reconnect_seconds=5) as client,
    ):
        label_set = client.open(sets.mine.digest)
        with pytest.raises(DigestMismatchError):
            label_set.index()
        assert peer.faults == 1
        assert label_set.index().segments[0].num_rows == len(sets.mine.views)
