"""Advice on what a network does between client and service is tried, over a peer that does it."""

import itertools
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import labelcast
from labelcast import LabelClient, Representation, Views
from labelcast.remote.pulling import pull
from labelcast.v2 import labels_pb2 as pb
from tests.e2e import tampering as do
from tests.e2e.hostile_peer import Fault, Messages, hostile_peer
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.running_service import RunningService, eventually
from tests.e2e.scraping import scrape
from tests.factories.advice import Case, try_advice

pytestmark = pytest.mark.e2e

CODES = Representation.codes()


@dataclass(frozen=True)
class Line:
    """A service that has a label set, and an empty directory of each test's own."""

    service: RunningService
    known: KnownLabelSet
    directory: Path

    def open(self, address: str) -> str:
        with LabelClient(address, reconnect_seconds=0) as client:
            return client.open("raw").digest

    def read(self, address: str, reply_seconds: float = 60) -> None:
        """Stream every label, and take nothing up again."""
        batches = self.known.views.batches(20)
        with LabelClient(address, reconnect_seconds=0, reply_seconds=reply_seconds) as client:
            for _ in client.stream(client.open("raw"), batches, CODES):
                pass

    def pull(self, address: str) -> None:
        with LabelClient(address) as client:
            pull(client, "raw", self.directory)


@contextmanager
def unused_address() -> Iterator[str]:
    """Held but not listened on: nobody else can be given it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def opened_where_nobody_is(at: Line) -> None:
    with unused_address() as address:
        at.open(address)


def slow(messages: Messages) -> Messages:
    """Each message takes a second and a half."""
    time.sleep(1.5)
    yield from messages


def read_slowly(at: Line, reply_seconds: float) -> None:
    fault = Fault("StreamLabels", "replies", 0, slow, always=True)
    with hostile_peer(at.service.grpc, fault) as peer:
        at.read(peer.address, reply_seconds)


def see_a_stream_in_the_metrics(at: Line) -> None:
    def batches() -> Iterator[Views]:
        yield from at.known.views.batches(20)
        eventually(lambda: scrape(at.service)["labelcast_open_streams"] == 1, "one is open")

    with LabelClient(at.service.grpc) as client:
        for _ in client.stream(client.open("raw"), batches(), CODES):
            pass


def look_at_its_load_and_wait_longer(at: Line) -> None:
    see_a_stream_in_the_metrics(at)
    read_slowly(at, 60)


def pulled_over_damage(at: Line) -> None:
    """Another byte of each blob is damaged each time."""
    places = itertools.count()

    def damage(reply: pb.GetBlobResponse) -> None:
        content = bytearray(reply.data)
        content[next(places) % len(content)] ^= 1
        reply.data = bytes(content)

    fault = Fault("GetBlob", "replies", 0, do.rewrite(pb.GetBlobResponse, damage), always=True)
    with hostile_peer(at.service.grpc, fault) as peer:
        at.pull(peer.address)


def read_with(at: Line, fault: Fault, *, streams: int) -> None:
    """Open stream after stream, of which the first one meets a fault."""
    with hostile_peer(at.service.grpc, fault) as peer:
        for _ in range(streams - 1):
            with pytest.raises(labelcast.LabelcastError):
                at.read(peer.address)
        at.read(peer.address)


def lost(number: int) -> Fault:
    return Fault("StreamLabels", "requests", number, do.drop)


CASES: list[Case[Line]] = [
    Case(
        'give its address, such as labelcast.open("mine:v1", address="127.0.0.1:7070")',
        lambda _: labelcast.open("raw"),
        lambda at: labelcast.open("raw", address=at.service.grpc),
    ),
    Case(
        "check the address and that `labelcast-server serve` runs there",
        opened_where_nobody_is,
        lambda at: at.open(at.service.grpc),
    ),
    Case(
        "sent none for 0.5 s; look at its load in /metrics, or raise reply_seconds",
        lambda at: read_slowly(at, 0.5),
        look_at_its_load_and_wait_longer,
    ),
    Case(
        "came damaged twice, each time otherwise; pull again",
        pulled_over_damage,
        lambda at: at.pull(at.service.grpc),
    ),
    Case(
        "with label set and representation, was lost on its way; open the stream again",
        lambda at: read_with(at, lost(0), streams=1),
        lambda at: read_with(at, lost(0), streams=2),
    ),
    Case(
        "one was lost on its way, or came twice; open the stream again",
        lambda at: read_with(at, lost(1), streams=1),
        lambda at: read_with(at, lost(1), streams=2),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(
    case: Case[Line],
    service: RunningService,
    label_sets: dict[str, KnownLabelSet],
    tmp_path: Path,
) -> None:
    try_advice(case, Line(service, label_sets["raw"], tmp_path))
