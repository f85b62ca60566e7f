"""Every method of the gRPC surface asks whether its caller may, and answers nobody who did not."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from labelcast import Representation, Views, wire
from labelcast.identifiers import tag_from
from labelcast.label_set import MissingViews
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.plans import Plan
from labelcast.remote.transport import SERVICE
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from labelcast.wire_plan import plan_to_proto
from labelcast_server.access.caller import Caller
from labelcast_server.access.tokens import Tokens
from labelcast_server.decoder.fleet import DecoderFleet
from labelcast_server.delivery.cache.chunks import ChunkCache
from labelcast_server.delivery.cache.directory import CacheDirectory
from labelcast_server.delivery.cache.tables import SharedTables
from labelcast_server.delivery.service import LabelService
from labelcast_server.rpc.malformed import MalformedRequests
from labelcast_server.rpc.ready_replies import ReadyReplies
from labelcast_server.rpc.servicer import LabelServicer
from labelcast_server.store.memory import memory_store
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import push, services_over

TOKENS = Tokens(admin_token="the-admin", read_token="a-reader")
OPEN = Tokens(admin_token="the-admin", read_token=None)
Metadata = tuple[tuple[str, str], ...]
ADMIN: Metadata = (("authorization", "Bearer the-admin"),)
READER: Metadata = (("authorization", "Bearer a-reader"),)
WRONG: Metadata = (("authorization", "Bearer guess"),)
NONE: Metadata = ()
METHODS = [method.name for method in pb.DESCRIPTOR.services_by_name["LabelService"].methods]

Serve = Callable[..., Any]


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    made, _ = make_label_set(tmp_path_factory.mktemp("on_disk"), num_samples=4)
    return made


@pytest.fixture
async def serve(on_disk: LabelSetDirectory, tmp_path: Path) -> AsyncIterator[Serve]:
    """Serve one label set with some servicer and tokens; gives a channel."""
    store = memory_store()
    await push(store, on_disk)
    await services_over(store).publisher.publish(on_disk.digest, tag_from("mine:v1"))
    decoder = DecoderFleet([tmp_path / "decoder.sock"])
    service = LabelService(
        store,
        ChunkCache(store.blobs, CacheDirectory(tmp_path)),
        SharedTables(CacheDirectory(tmp_path)),
        decoder,
        message_bytes=2**18,
        unsent_bytes=2**24,
    )
    server = grpc.aio.server(interceptors=[MalformedRequests(SERVICE), ReadyReplies(SERVICE)])
    channels = list[grpc.aio.Channel]()

    async def start(
        tokens: Tokens = TOKENS, kind: type[LabelServicer] = LabelServicer
    ) -> grpc.aio.Channel:
        servicer = kind(service, tokens, max_streams=4)
        labels_pb2_grpc.add_LabelServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
        return channels[-1]

    yield start
    for channel in channels:
        await channel.close()
    await server.stop(None)
    await decoder.close()


async def ask(
    channel: grpc.aio.Channel, method: str, on_disk: LabelSetDirectory, metadata: Metadata
) -> grpc.StatusCode:
    """Call a method rightly; its status."""
    views = wire.views_to_proto(Views(*_first_views(on_disk)))
    codes = wire.representation_to_proto(Representation.codes())
    digest = on_disk.digest
    stub: Any = labels_pb2_grpc.LabelServiceStub(channel)
    requests = {
        "GetLabelSet": pb.GetLabelSetRequest(reference="mine:v1"),
        "GetBlob": pb.GetBlobRequest(label_set=digest, blob=on_disk.manifest.codec.digest),
        "ResolveViews": pb.ResolveViewsRequest(
            label_set=digest, views=views, missing=wire.missing_to_proto(MissingViews.DROP)
        ),
        "GetLabels": pb.GetLabelsRequest(label_set=digest, representation=codes, views=views),
        "StreamLabels": iter(
            [pb.StreamLabelsRequest(label_set=digest, representation=codes, views=views)]
        ),
        "StreamPlan": pb.StreamPlanRequest(
            label_set=digest,
            representation=codes,
            plan=plan_to_proto(Plan(*(each[:1] for each in _first_views(on_disk)))),
            num_rows=1,
        ),
    }
    assert requests.keys() == set(METHODS)
    call = getattr(stub, method)(requests[method], metadata=metadata)
    try:
        if method in ("GetBlob", "StreamLabels", "StreamPlan"):
            assert [reply async for reply in call]
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def _first_views(on_disk: LabelSetDirectory) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    views = on_disk.index().segments[0].views()[:3]
    return views.sample_ids, views.seeds


@pytest.mark.parametrize("method", METHODS)
async def test_whoever_may_read_is_answered(
    method: str, serve: Serve, on_disk: LabelSetDirectory
) -> None:
    channel = await serve()
    for metadata in (ADMIN, READER):
        assert await ask(channel, method, on_disk, metadata) is grpc.StatusCode.OK
    for metadata in (NONE, WRONG):
        assert await ask(channel, method, on_disk, metadata) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_asks(
    method: str, serve: Serve, on_disk: LabelSetDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = await serve(OPEN)
    assert await ask(channel, method, on_disk, NONE) is grpc.StatusCode.OK
    monkeypatch.setattr("labelcast_server.access.authorize.GRANTS", {})
    assert await ask(channel, method, on_disk, ADMIN) is grpc.StatusCode.PERMISSION_DENIED
    assert await ask(channel, method, on_disk, NONE) is grpc.StatusCode.UNAUTHENTICATED


class Forgetful(LabelServicer):
    """Answers without asking."""

    async def _get_label_set(
        self, _caller: Caller, request: pb.GetLabelSetRequest
    ) -> pb.GetLabelSetResponse:
        return pb.GetLabelSetResponse(reference=request.reference)

    async def _get_blob(self, *_: Any) -> AsyncIterator[pb.GetBlobResponse]:
        yield pb.GetBlobResponse(data=b"secret")


@pytest.mark.parametrize("method", ["GetLabelSet", "GetBlob"])
async def test_a_method_that_forgot_to_ask_answers_nobody(
    method: str, serve: Serve, on_disk: LabelSetDirectory
) -> None:
    channel = await serve(OPEN, Forgetful)
    for metadata in (ADMIN, NONE):
        assert await ask(channel, method, on_disk, metadata) is grpc.StatusCode.PERMISSION_DENIED
