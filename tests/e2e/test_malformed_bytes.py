"""Bytes that are no messages: one line and a reason, after the token has been asked for."""

import random
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from labelcast import AsyncLabelClient, LabelClient
from labelcast.errors import (
    InvalidRequestError,
    LabelcastError,
    ProtocolError,
    UnauthenticatedError,
)
from labelcast.remote.transport import SERVICE, translate
from tests.e2e.running_service import RunningService, running_service

pytestmark = pytest.mark.e2e

OURS = {
    f"/{SERVICE}/GetLabelSet": "unary_unary",
    f"/{SERVICE}/GetLabels": "unary_unary",
    f"/{SERVICE}/ResolveViews": "unary_unary",
    f"/{SERVICE}/GetBlob": "unary_stream",
    f"/{SERVICE}/StreamLabels": "stream_stream",
}
OTHERS = {
    "/grpc.health.v1.Health/Check": "unary_unary",
    "/grpc.health.v1.Health/Watch": "unary_stream",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "stream_stream",
}
TOKEN = "a-token-for-reading-0123456789"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that wants a token for reading; its log must be free of tracebacks."""
    environment = {"LABELCAST_READ_TOKEN": TOKEN}
    with running_service(tmp_path_factory.mktemp("guarded"), environment=environment) as service:
        yield service
        assert TOKEN not in service.log()


@pytest.fixture(scope="module")
def channel(guarded: RunningService) -> Iterator[grpc.Channel]:
    options = (("grpc.enable_retries", 0), ("grpc.max_send_message_length", -1))
    with grpc.insecure_channel(guarded.grpc, options=options) as opened:
        yield opened


def send(channel: grpc.Channel, method: str, content: bytes, token: str | None) -> grpc.RpcError:
    """Send bytes to any method; the status that it ends with."""
    kind = (OURS | OTHERS)[method]
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    call: Any = getattr(channel, kind)(method)
    request: Any = iter([content]) if kind == "stream_stream" else content
    try:
        answer = call(request, timeout=60, metadata=metadata)
        if kind != "unary_unary":
            list(answer)
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"{method} answered {len(content)} bytes")


def malformed(seed: int) -> bytes:
    """Random bytes that are no message whatever the schema: the last field is cut off."""
    return random.Random(seed).randbytes(seed) + b"\x0a\xff\xff\x03" + b"x" * 100


@pytest.mark.parametrize("method", [*OURS, *OTHERS])
def test_bytes_that_are_no_message(channel: grpc.Channel, method: str) -> None:
    for seed in range(20):
        error: Any = send(channel, method, malformed(seed), TOKEN)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        reported = translate(error, "the service")
        assert type(reported) is InvalidRequestError
        assert "\n" not in reported.message
        assert str(len(malformed(seed))) in reported.message


@pytest.mark.parametrize("method", OURS)
def test_a_token_is_asked_for_before_anything_is_read(channel: grpc.Channel, method: str) -> None:
    for content in (malformed(9), b""):
        for token in (None, "another-token-0123456789012345"):
            error: Any = send(channel, method, content, token)
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED
            assert type(translate(error, "the service")) is UnauthenticatedError


@pytest.mark.parametrize("method", OURS)
def test_messages_that_are_too_large(channel: grpc.Channel, method: str) -> None:
    error: Any = send(channel, method, bytes(16 * 2**20 + 1), TOKEN)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert isinstance(translate(error, "the service"), LabelcastError)


def test_an_older_client_is_refused_clearly(channel: grpc.Channel) -> None:
    for method in ("GetLabels", "GetCodec"):
        older: Any = channel.unary_unary(f"/labelcast.v1.LabelService/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            older(b"", timeout=60)
        refused: Any = caught.value
        assert refused.code() == grpc.StatusCode.UNIMPLEMENTED


OTHER_VERSION = f"does not speak {SERVICE}; use a client and a service of one version"


async def test_a_service_of_another_version_is_named() -> None:
    server = grpc.server(futures.ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    address = f"127.0.0.1:{port}"
    try:
        with (
            LabelClient(address, reconnect_seconds=60) as client,
            pytest.raises(ProtocolError, match=OTHER_VERSION),
        ):
            client.open("any")
        async with AsyncLabelClient(address, reconnect_seconds=60) as asynchronous:
            with pytest.raises(ProtocolError, match=OTHER_VERSION):
                await asynchronous.open("any")
    finally:
        server.stop(None).wait()
