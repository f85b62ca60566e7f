"""A service that answers pings and nothing else: every call ends, every stream is taken up."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from labelcast import AsyncLabelClient, LabelClient, Plan, Representation
from labelcast.errors import DeadlineExceededError, LabelcastError, ServiceUnavailableError
from labelcast.label_set import MissingViews
from labelcast.v2 import labels_pb2 as pb
from tests.e2e.hostile_peer import Fault, HostilePeer, Messages, hostile_peer
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.running_service import RunningService

pytestmark = pytest.mark.e2e

CODES = Representation.codes()
CLIENTS: dict[str, type[Any]] = {"sync": LabelClient, "async": AsyncLabelClient}
METHODS = [each.name for each in pb.DESCRIPTOR.services_by_name["LabelService"].methods]
UNARY = ("GetLabelSet", "GetLabels", "ResolveViews")
LIMIT = 0.5


@pytest.fixture
def known(label_sets: dict[str, KnownLabelSet]) -> KnownLabelSet:
    return label_sets["raw"]


@contextmanager
def silent_peer(service: RunningService, method: str, *, always: bool) -> Iterator[HostilePeer]:
    """Passes everything on but the answers to one method, of which it holds back the first."""
    over = threading.Event()

    def silent(messages: Messages) -> Messages:
        over.wait(100)
        yield from messages

    with hostile_peer(service.grpc, Fault(method, "replies", 0, silent, always=always)) as peer:
        try:
            yield peer
        finally:
            over.set()


def ask(client: Any, method: str, known: KnownLabelSet) -> Any:
    """What a method gives; of a stream, all of it."""
    label_set, views = known.on_disk, known.views[:40]
    plan = Plan(np.unique(views.sample_ids), np.unique(known.views.seeds))
    asked: dict[str, Callable[[], Any]] = {
        "GetLabelSet": lambda: client.open(label_set.digest),
        "GetBlob": lambda: client.read_blob(label_set, label_set.manifest.codec),
        "ResolveViews": lambda: client.resolve(label_set, views, MissingViews.DROP),
        "GetLabels": lambda: client.labels(label_set, views, CODES),
        "StreamLabels": lambda: client.stream(label_set, views.batches(8), CODES),
        "StreamPlan": lambda: client.stream(label_set, plan.batches(8), CODES),
    }
    return asked[method]()


def told(
    kind: str, address: str, method: str, known: KnownLabelSet, **options: Any
) -> list[bytes] | LabelcastError:
    """Rows that a stream gave, or bytes of a blob; what a call was refused with."""

    async def asynchronously() -> Any:
        async with AsyncLabelClient(address, **options) as client:
            given = ask(client, method, known)
            if method.startswith("Stream"):
                return [batch async for batch in given]
            return await given

    try:
        if kind == "async":
            given = asyncio.run(asynchronously())
        else:
            with LabelClient(address, **options) as client:
                given = ask(client, method, known)
                given = list(given) if method.startswith("Stream") else given
    except LabelcastError as error:
        return error
    if isinstance(given, bytes):
        return [given]
    return [batch.rows.tobytes() for batch in (given if isinstance(given, list) else [given])]


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("method", METHODS)
def test_silence_has_an_end(
    service: RunningService, known: KnownLabelSet, kind: str, method: str
) -> None:
    limits = {"deadline_seconds": LIMIT, "reply_seconds": LIMIT, "reconnect_seconds": 0}
    with silent_peer(service, method, always=True) as peer:
        error = told(kind, peer.address, method, known, **limits)
    if method in UNARY:
        assert isinstance(error, DeadlineExceededError)
    else:
        assert isinstance(error, ServiceUnavailableError)
        assert f"and sent none for {LIMIT:g} s; look at its load" in error.message


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("method", [each for each in METHODS if each not in UNARY])
def test_what_fell_silent_is_taken_up(
    service: RunningService, known: KnownLabelSet, kind: str, method: str
) -> None:
    with silent_peer(service, method, always=False) as peer:
        given = told(kind, peer.address, method, known, reply_seconds=LIMIT)
        assert peer.faults == 1
    assert given == told("sync", service.grpc, method, known)


@pytest.mark.parametrize("kind", CLIENTS)
def test_a_silent_server_leaves_time_for_another(
    service: RunningService, known: KnownLabelSet, kind: str
) -> None:
    right = told("sync", service.grpc, "GetLabels", known)
    with silent_peer(service, "GetLabels", always=True) as peer:
        both = f"{peer.address},{service.grpc}"
        for _ in range(2):  # One of two clients begins with the silent one.
            assert told(kind, both, "GetLabels", known, deadline_seconds=4) == right
        assert peer.faults == 1
