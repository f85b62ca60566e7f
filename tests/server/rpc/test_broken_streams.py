"""A stream that breaks while the caller is slow to say what it wants next.

The peer is a real gRPC server that answers each view with its own sample ID and breaks its first
stream after a given number of replies.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest

from labelcast import AsyncLabelClient, LabelClient, RemoteLabelSet, Representation, Views, wire
from labelcast.answer_subject import LabelSubject
from labelcast.checksums import crc32
from labelcast.errors import ServiceUnavailableError
from labelcast.identifiers import digest_from, digest_from_hash
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from tests.factories.label_sets import make_label_set


class BreakingPeer(labels_pb2_grpc.LabelServiceServicer):
    """Serves rows that name their view; the first stream ends UNAVAILABLE."""

    def __init__(self, replies_before_break: int) -> None:
        self.streams = 0
        self._replies_before_break = replies_before_break

    def StreamLabels(  # noqa: N802 - the schema's name
        self, request_iterator: Iterator[pb.StreamLabelsRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamLabelsResponse]:
        self.streams += 1
        replies, subject = 0, LabelSubject(digest_from_hash(bytes(32)), Representation.codes())
        breaks = self.streams == 1
        context.send_initial_metadata(())
        for request in request_iterator:
            if breaks and replies == self._replies_before_break:
                context.abort(grpc.StatusCode.UNAVAILABLE, "going away")
            if request.label_set:
                subject = LabelSubject(digest_from(request.label_set), Representation.codes())
            if not request.HasField("views"):
                continue
            views = wire.views_from_proto(request.views)
            payload = views.sample_ids.astype("<u4").tobytes()
            rows = pb.LabelRows(
                first_row=request.first_row,
                count=len(views),
                payload_crc32=crc32(payload),
                subject_crc32=subject.checksum(views),
                payload=payload,
            )
            yield pb.StreamLabelsResponse(rows=rows)
            replies += 1


@pytest.fixture(scope="module")
def label_set(tmp_path_factory: pytest.TempPathFactory) -> RemoteLabelSet:
    """Rows of four bytes: enough for a sample ID."""
    on_disk, _ = make_label_set(
        tmp_path_factory.mktemp("set"), "raw", num_samples=4, num_seeds=1, num_classes=2
    )
    return RemoteLabelSet(LabelClient("127.0.0.1:1"), on_disk.manifest, {})


@pytest.mark.parametrize("replies_before_break", [0, 1, 3])
@pytest.mark.parametrize("slow_batches", [(), (0,), (1, 2), (5,)])
def test_every_view_gets_its_own_row(
    label_set: RemoteLabelSet, replies_before_break: int, slow_batches: tuple[int, ...]
) -> None:
    peer = BreakingPeer(replies_before_break)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    labels_pb2_grpc.add_LabelServiceServicer_to_server(peer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def batches() -> Iterator[Views]:
        for number in range(8):
            if number in slow_batches:
                # Longer than the client's first pause before it takes a broken stream up again.
                time.sleep(0.4)
            yield Views.of(np.arange(5) + 100 * number, 0)

    received: list[int] = []
    with LabelClient(f"127.0.0.1:{port}", rows_in_flight=10) as client:
        for batch in client.stream(label_set, batches(), Representation.codes()):
            rows: Any = batch.rows.copy().view("<u4")[:, 0]
            assert rows.tolist() == batch.views.sample_ids.tolist()
            received += rows.tolist()
    server.stop(None).wait()
    assert received == [100 * number + at for number in range(8) for at in range(5)]
    assert peer.streams == 2
    assert not [thread for thread in threading.enumerate() if "labelcast" in thread.name]


def test_replies_are_delivered_while_the_caller_thinks(label_set: RemoteLabelSet) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    peer = BreakingPeer(-1)
    labels_pb2_grpc.add_LabelServiceServicer_to_server(peer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    delivered = threading.Event()

    def batches() -> Iterator[Views]:
        for number in range(3):
            yield Views.of(np.arange(10) + 100 * number, 0)
        # Bounded, so that a client which cannot deliver meanwhile fails instead of hanging.
        assert delivered.wait(100)
        yield Views.of([7], 0)

    with LabelClient(f"127.0.0.1:{port}", rows_in_flight=10) as client:
        for batch in client.stream(label_set, batches(), Representation.codes()):
            delivered.set()
            assert batch.rows.copy().view("<u4")[:, 0].tolist() == batch.views.sample_ids.tolist()
    server.stop(None).wait()


class RefusingPeer(labels_pb2_grpc.LabelServiceServicer):
    """Ends every stream UNAVAILABLE before anything is answered."""

    def __init__(self) -> None:
        self.streams = 0

    def StreamLabels(  # noqa: N802 - the schema's name
        self, request_iterator: Iterator[pb.StreamLabelsRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamLabelsResponse]:
        self.streams += 1
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        yield pb.StreamLabelsResponse()


async def test_grpc_does_not_retry_a_stream(label_set: RemoteLabelSet) -> None:
    """Its replay loses requests; five attempts were made behind the client's back once."""
    peer = RefusingPeer()
    with serving(peer) as address:
        with LabelClient(address, reconnect_seconds=0) as client:
            stream = client.stream(label_set, [Views.of([1], 0)], Representation.codes())
            with pytest.raises(ServiceUnavailableError):
                next(stream)
        assert peer.streams == 1
        async with AsyncLabelClient(address, reconnect_seconds=0) as asynchronous:
            async_stream = asynchronous.stream(
                label_set, [Views.of([1], 0)], Representation.codes()
            )
            with pytest.raises(ServiceUnavailableError):
                await anext(async_stream)
    assert peer.streams == 2


class ForgetfulPeer(BreakingPeer):
    """Loses the first request of its first stream, and says nothing."""

    def __init__(self) -> None:
        super().__init__(99)

    def StreamLabels(  # noqa: N802 - the schema's name
        self, request_iterator: Iterator[pb.StreamLabelsRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.StreamLabelsResponse]:
        if self.streams == 0:
            next(request_iterator)
            next(request_iterator)
        yield from super().StreamLabels(request_iterator, context)


async def test_a_lost_message_does_not_hang_a_stream(label_set: RemoteLabelSet) -> None:
    """Where nothing more may be asked for, no gap would ever tell of it."""
    views, codes = Views.of(np.arange(5), 0), Representation.codes()
    peer = ForgetfulPeer()
    with (
        serving(peer) as address,
        LabelClient(address, rows_in_flight=5, reply_seconds=1) as client,
    ):
        (batch,) = client.stream(label_set, [views], codes)
        assert batch.rows.copy().view("<u4")[:, 0].tolist() == list(range(5))
        assert peer.streams > 1
    peer = ForgetfulPeer()
    with serving(peer) as address:
        async with AsyncLabelClient(address, rows_in_flight=5, reply_seconds=1) as asynchronous:
            stream = asynchronous.stream(label_set, [views], codes)
            (batch,) = [batch async for batch in stream]
        assert batch.rows.copy().view("<u4")[:, 0].tolist() == list(range(5))
        assert peer.streams > 1


class OwnError(grpc.RpcError):
    """What the caller's batches raise; gRPC itself may be what they come from."""


@pytest.mark.parametrize("failure", [OwnError(), KeyError("own"), SystemExit(1)], ids=repr)
@pytest.mark.parametrize("replies_before_break", [0, 1, 2, 99])
async def test_what_the_callers_batches_raise_reaches_the_caller(
    label_set: RemoteLabelSet, replies_before_break: int, failure: BaseException
) -> None:
    def batches() -> Iterator[Views]:
        for number in range(3):
            yield Views.of(np.arange(5) + 100 * number, 0)
        time.sleep(0.2)
        raise failure

    codes, received = Representation.codes(), [0, 0]

    def read(client: LabelClient) -> None:
        for batch in client.stream(label_set, batches(), codes):
            received[0] += len(batch.rows)

    async def read_asynchronously(client: AsyncLabelClient) -> None:
        async for batch in client.stream(label_set, batches(), codes):
            received[1] += len(batch.rows)

    with (
        serving(BreakingPeer(replies_before_break)) as address,
        LabelClient(address, rows_in_flight=10) as client,
        pytest.raises(type(failure)),
    ):
        read(client)
    with serving(BreakingPeer(replies_before_break)) as address:
        async with AsyncLabelClient(address, rows_in_flight=10) as asynchronous:
            with pytest.raises(type(failure)):
                await read_asynchronously(asynchronous)
    assert received == [15, 15]


@contextlib.contextmanager
def serving(peer: labels_pb2_grpc.LabelServiceServicer) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    labels_pb2_grpc.add_LabelServiceServicer_to_server(peer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
