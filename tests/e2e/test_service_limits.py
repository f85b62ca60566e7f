"""What a worker holds for those who do not read is bounded, and comes back when they leave."""

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from labelcast import LabelClient, Representation, Views, wire
from labelcast.errors import LabelcastError, OverloadedError
from labelcast.remote.transport import SERVICE, translate
from labelcast.v2 import labels_pb2 as pb
from tests.e2e.running_service import RunningService, eventually, running_service
from tests.e2e.spelling_sets import SpellingSet, spelling_set

pytestmark = pytest.mark.e2e

CODES = Representation.codes()
MAX_STREAMS = 32
UNSENT_MIB = 2
# Far below what the views and replies of these streams would take: 24 MiB of views for each alone.
_MORE_MEMORY = 150 * 2**20
SILENT = 50
# Their connections take a fraction of this, and full units of labels would take ten times as much.
_SILENT_MEMORY = 64 * 2**20
_READINGS = 20
FULL = (
    f"this worker has {MAX_STREAMS} label streams, which is its limit; retry in a moment, close"
    " streams that you do not read, or give the service more workers"
)


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    environment = {
        "LABELCAST_MAX_STREAMS": str(MAX_STREAMS),
        "LABELCAST_UNSENT_MIB": str(UNSENT_MIB),
    }
    with running_service(tmp_path_factory.mktemp("limited"), environment=environment) as service:
        yield service


@pytest.fixture(scope="module")
def known(limited: RunningService, tmp_path_factory: pytest.TempPathFactory) -> SpellingSet:
    made = spelling_set(tmp_path_factory.mktemp("spelling"), 13)
    limited.push(made.on_disk, "spelling")
    return made


class Streams:
    """Streams that ask for some views, and then for nothing more, and stay open.

    Args:
        address: of the service.
        known: label set.
        views: what each asks for.
        count: streams.
        together: streams of each connection.
    """

    def __init__(
        self, address: str, known: SpellingSet, views: pb.Views, count: int, *, together: int = 16
    ) -> None:
        options = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
        self._channels: list[Any] = [
            grpc.insecure_channel(address, options=options) for _ in range(-(-count // together))
        ]
        self._leave: queue.SimpleQueue[None] = queue.SimpleQueue()
        request = pb.StreamLabelsRequest(
            label_set=known.digest,
            representation=wire.representation_to_proto(CODES),
            views=views,
        ).SerializeToString()
        self.request_bytes = len(request)
        self.calls: list[Any] = []
        self.ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for number in range(count):
            call = self._channels[number // together].stream_stream(f"/{SERVICE}/StreamLabels")(
                self._requests(request)
            )
            call.add_done_callback(self.ended.put)
            self.calls.append(call)

    def _requests(self, request: bytes) -> Iterator[bytes]:
        yield request
        self._leave.get()

    def close(self) -> None:
        for call in self.calls:
            call.cancel()
        for _ in self.calls:
            self._leave.put(None)
        for channel in self._channels:
            channel.close()


def one_view(known: SpellingSet) -> pb.Views:
    return wire.views_to_proto(known.views[:1])


def a_million_views(known: SpellingSet) -> pb.Views:
    """One view, a million times, in a few bytes."""
    views = Views.of(np.repeat(known.views.sample_ids[:1], 2), known.views.seeds[0])
    message = wire.views_to_proto(views)
    message.count = wire.MAX_VIEWS_PER_REQUEST
    return message


def read_one(call: Any) -> None:
    rows = pb.StreamLabelsResponse.FromString(next(call)).rows
    assert rows.count == 1


def fill_every_slot(limited: RunningService, known: SpellingSet) -> Streams:
    """As many streams as there may be, each of which has been answered."""
    streams = Streams(limited.grpc, known, one_view(known), MAX_STREAMS)
    for call in streams.calls:
        read_one(call)
    return streams


def reads_everything(client: LabelClient, known: SpellingSet) -> int:
    label_set, content = client.open(known.digest), b""
    for batch in client.stream(label_set, known.views.batches(100), CODES):
        content += batch.rows.tobytes()
    assert content == known.expected(np.arange(len(known.views)))
    return len(known.views)


def test_a_stream_too_many_is_refused_and_waits_its_turn(
    limited: RunningService, known: SpellingSet
) -> None:
    streams = fill_every_slot(limited, known)
    try:
        extra = Streams(limited.grpc, known, one_view(known), 1)
        with pytest.raises(grpc.RpcError) as caught:
            read_one(extra.calls[0])
        extra.close()
        refused: Any = caught.value
        assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert isinstance(translate(refused, limited.grpc), OverloadedError)
        with (
            limited.client(reconnect_seconds=0) as impatient,
            pytest.raises(OverloadedError, match=FULL),
        ):
            reads_everything(impatient, known)
        # Unary calls need no slot.
        with limited.client() as client:
            label_set = client.open(known.digest)
            rows = client.labels(label_set, known.views[:5], CODES).rows
            assert rows.tobytes() == known.expected(np.arange(5))
        # What the message says to do.
        with limited.client() as patient, ThreadPoolExecutor(1) as pool:
            reading = pool.submit(reads_everything, patient, known)
            streams.calls[0].cancel()
            assert reading.result(60) == len(known.views)
    finally:
        streams.close()


def test_more_workers_take_more_streams(tmp_path: Path, known: SpellingSet) -> None:
    environment = {"LABELCAST_MAX_STREAMS": "1"}
    with running_service(tmp_path, "--workers", "2", environment=environment) as service:
        service.push(known.on_disk, "spelling")
        opened: list[Streams] = []

        def has_two() -> bool:
            # Each on a connection of its own, which the system gives to either worker.
            opened.append(Streams(service.grpc, known, one_view(known), 1))
            try:
                read_one(opened[-1].calls[0])
            except grpc.RpcError:
                opened.pop().close()
            return len(opened) == 2

        try:
            eventually(has_two, "each worker has a stream")
        finally:
            for streams in opened:
                streams.close()


def test_those_who_never_read_pin_no_memory(limited: RunningService, known: SpellingSet) -> None:
    (worker,) = limited.processes().workers
    with limited.client() as client:
        reads_everything(client, known)
    before = worker.memory_info().rss
    hostile = Streams(limited.grpc, known, a_million_views(known), 4 * MAX_STREAMS)
    try:
        assert hostile.request_bytes < 160
        for _ in range(3 * MAX_STREAMS):
            call = hostile.ended.get(timeout=60)
            assert call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        # The others hold all the room there is: a well-behaved call is told so, and not kept.
        with limited.client(reconnect_seconds=0) as client:
            label_set = client.open(known.digest)
            try:
                rows = client.labels(label_set, known.views[:300], CODES).rows
                assert rows.tobytes() == known.expected(np.arange(300))
            except LabelcastError as error:
                assert isinstance(error, OverloadedError)  # noqa: PT017 - either is right
        assert worker.memory_info().rss - before < _MORE_MEMORY
    finally:
        hostile.close()
    # Every byte and every slot comes back.
    with limited.client() as client:
        assert reads_everything(client, known) == len(known.views)
    again: list[Streams] = []

    def has_every_slot() -> bool:
        try:
            again.append(fill_every_slot(limited, known))
        except grpc.RpcError:
            return False
        return True

    eventually(has_every_slot, "all streams have room again")
    again[0].close()
    assert limited.processes().workers == [worker]


def test_readers_that_never_read_cost_little_and_keep_nobody_from_leaving(
    tmp_path: Path, known: SpellingSet
) -> None:
    """Each has asked for 2 GiB, on a connection of its own."""
    environment = {"LABELCAST_DRAIN_SECONDS": "2"}
    with running_service(tmp_path, environment=environment) as service:
        service.push(known.on_disk, "spelling")
        (worker,) = service.processes().workers
        with service.client() as client:
            reads_everything(client, known)
            before = worker.memory_info().rss
            silent = Streams(service.grpc, known, a_million_views(known), SILENT, together=1)
            try:
                most = before
                for _ in range(_READINGS):
                    assert reads_everything(client, known) == len(known.views)
                    most = max(most, worker.memory_info().rss)
                assert most - before < _SILENT_MEMORY
                assert silent.ended.empty()
                assert service.stop() == 0
            finally:
                silent.close()
        assert "did not stop in time" not in service.log()


def test_an_open_codec_is_served_from_memory(limited: RunningService, tmp_path: Path) -> None:
    """The store may lose it: those who decode themselves do not notice."""
    codec_of = spelling_set(tmp_path, 14).on_disk
    limited.push(codec_of, "codec")
    artifact = codec_of.read_blob(codec_of.manifest.codec)
    with limited.client() as client:
        label_set = client.open("codec")
        with limited.raw_redis() as redis:
            keys = [
                key for key in redis.scan_iter("labelcast:{*:*}:*") if _holds(redis, key, artifact)
            ]
            assert keys
            redis.delete(*keys)
        assert label_set.artifact() == artifact
        whole = b"".join(client.blob(label_set, label_set.manifest.codec))
        assert whole == artifact


def _holds(redis: Any, key: bytes, content: bytes) -> bool:
    return bool(redis.type(key) == b"string" and redis.get(key) == content)
