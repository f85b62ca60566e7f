"""The shape of answers, the schema, and the server's start and stop."""

import asyncio
import logging
import socket
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from labelcast.errors import (
    DeadlineExceededError,
    InternalServiceError,
    NotFoundError,
    ProtocolError,
    ServiceUnavailableError,
)
from labelcast.registry.client import Registry
from labelcast_server.access.tokens import Tokens
from labelcast_server.admin import create_app, serve_admin
from labelcast_server.registry.services import RegistryServices
from labelcast_server.store.memory import memory_store
from tests.server.admin.running_admin import RunningAdmin


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/label-sets/", 404, "not_found"),
        ("GET", "/v1/uploads", 405, "invalid_request"),
        ("POST", "/v1/tags", 405, "invalid_request"),
        ("POST", "/health", 405, "invalid_request"),
        ("GET", "/v1/capacity?required_bytes=many", 400, "invalid_request"),
        ("GET", "/v1/capacity?required_bytes=-1", 400, "invalid_request"),
        ("PUT", "/v1/uploads/x", 400, "invalid_request"),
        ("GET", "/v1/uploads/x", 404, "upload_not_found"),
        ("GET", "/v1/label-sets/nothing:v1", 404, "label_set_not_found"),
        ("POST", "/v1/label-sets/nothing:v1/retire", 404, "label_set_not_found"),
        ("GET", "/v1/blobs/x", 400, "invalid_request"),
    ],
)
def test_every_error_has_one_shape(
    http: httpx.Client, method: str, path: str, status: int, reason: str
) -> None:
    answer = http.request(method, path)
    body = answer.json()
    assert (answer.status_code, body["reason"]) == (status, reason)
    assert set(body) == {"reason", "message", "facts"}
    assert "\n" not in body["message"]
    assert answer.headers["Labelcast-Reason"] == reason
    assert (answer.status_code == 405) is ("allow" in answer.headers)


def test_capacity(http: httpx.Client) -> None:
    body = http.get("/v1/capacity", params={"required_bytes": 1000}).json()
    assert body["used_bytes"] > 0
    assert set(body) == {"used_bytes", "headroom_bytes", "bound"}
    answer = http.get("/v1/capacity", params={"required_bytes": 2**59})
    assert (answer.status_code, answer.json()["reason"]) == (507, "store_full")


def test_what_is_not_ours_is_answered_with_an_id(
    admin: RunningAdmin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails() -> list[Any]:
        raise RuntimeError("an address and a secret")

    monkeypatch.setattr(admin.services.inspection, "label_sets", fails)
    with admin.registry() as registry, pytest.raises(InternalServiceError) as caught:
        registry.list()
    assert "secret" not in caught.value.message
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    (logged,) = errors
    assert logged.name == "labelcast_server"
    assert caught.value.facts["error_id"] in logged.getMessage()


def test_the_schema_is_complete(http: httpx.Client) -> None:
    schema = http.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1")
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    for name, model in schema["components"]["schemas"].items():
        Draft202012Validator.check_schema(model)
        assert model.get("description"), name
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            where = (method, path)
            assert operation["summary"], where
            assert operation["description"], where
            assert "default" in operation["responses"], where
            assert bool(operation.get("security")) is (path != "/health"), where
            takes_a_body = method in ("patch", "post", "put") and not path.endswith("/retire")
            takes_a_body &= where != ("put", "/v1/uploads/{upload_id}")
            assert ("requestBody" in operation) is takes_a_body, where
            named = {found["name"] for found in operation.get("parameters", ())}
            assert all(part[1:-1] in named for part in path.split("/") if part.startswith("{"))
    ids = [each["operationId"] for methods in schema["paths"].values() for each in methods.values()]
    assert len(ids) == len(set(ids))
    for reference in find(schema, "$ref"):
        assert reference.startswith("#/components/schemas/")
        assert reference.rpartition("/")[2] in schema["components"]["schemas"]


def find(value: Any, key: str) -> list[str]:
    if isinstance(value, dict):
        inner = [found for each in value.values() for found in find(each, key)]
        return inner + ([value[key]] if key in value else [])
    return [found for each in value for found in find(each, key)] if isinstance(value, list) else []


def test_nobody_there() -> None:
    # Held but not listened on: nobody else can be given the port meanwhile.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with (
            Registry(url, patience_seconds=0) as registry,
            pytest.raises(ServiceUnavailableError, match="check the URL"),
        ):
            registry.list()


def test_no_answer_in_time() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Registry(
            f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.05, patience_seconds=0
        ) as registry,
        pytest.raises(DeadlineExceededError),
    ):
        registry.list()


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/nothing"])
def test_other_answers_than_ours_are_no_admin_api(admin: RunningAdmin, path: str) -> None:
    with Registry(admin.url + path) as registry, pytest.raises((ProtocolError, NotFoundError)):
        registry.list()


async def test_the_server_stops_when_told_and_lets_requests_end() -> None:
    entered, leave, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow_ping() -> None:
        entered.set()
        await leave.wait()

    tokens = Tokens(admin_token="a", read_token=None)
    app = create_app(RegistryServices.over(memory_store()), tokens, ping=slow_ping)
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    serving = asyncio.create_task(serve_admin(app, sock, stop=stop, drain_seconds=30))
    async with httpx.AsyncClient(base_url=url) as client:
        asking = asyncio.create_task(client.get("/health"))
        await entered.wait()
        stop.set()
        leave.set()
        assert (await asking).json() == {"status": "ok"}
    await serving
    assert sock.fileno() == -1


async def test_the_server_stops_when_its_task_is_cancelled() -> None:
    tokens = Tokens(admin_token="a", read_token=None)
    store = memory_store()
    app = create_app(RegistryServices.over(store), tokens, ping=store.ping)
    sock = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    serving = asyncio.create_task(serve_admin(app, sock, stop=asyncio.Event()))
    async with httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/health")).status_code == 200
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert sock.fileno() == -1
