"""The health check asks the service itself."""

import asyncio

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from labelcast.errors import InvalidRequestError
from labelcast_server.rpc.probe import is_serving
from tests.factories.recording_proxy import recording_proxy


async def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with recording_proxy() as proxy:
        for variable in ("grpc_proxy", "https_proxy", "http_proxy"):
            monkeypatch.setenv(variable, proxy.url)
        for host in ("127.0.0.1", "localhost"):
            assert await asyncio.to_thread(is_serving, f"{host}:{port}", timeout_seconds=30)
    await server.stop(0)
    assert proxy.requests == []


def test_what_is_no_address_is_said() -> None:
    with pytest.raises(InvalidRequestError, match="must be host:port"):
        is_serving("http://127.0.0.1:7070", timeout_seconds=1)
