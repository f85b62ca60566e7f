"""Who may do what, on every route there is, and secrets that stay secret."""

import logging
import re
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient

from labelcast.errors import (
    PermissionDeniedError,
    StoreUnavailableError,
    UnauthenticatedError,
)
from labelcast_server.access.tokens import Tokens
from labelcast_server.admin.access import PublisherDep
from labelcast_server.admin.app import create_app
from tests.factories.label_sets import make_label_set
from tests.factories.real_redis import running_redis
from tests.server.admin.running_admin import ADMIN_TOKEN, READ_TOKEN, RunningAdmin, running_admin

OPEN = {("GET", "/health"), ("GET", "/docs"), ("GET", "/openapi.json")}
OPEN |= {("HEAD", path) for _, path in OPEN if path != "/health"}
READABLE = {
    ("GET", "/metrics"),
    ("HEAD", "/v1/blobs/{digest}"),
    ("GET", "/v1/blobs/{digest}"),
    ("GET", "/v1/label-sets"),
    ("GET", "/v1/label-sets/{reference}"),
    ("GET", "/v1/tags"),
}


def routes(admin: RunningAdmin) -> set[tuple[str, str]]:
    found = {
        (method, str(route.path))
        for route in iter_route_contexts(admin.app.routes)
        for method in route.methods or ()
    }
    assert found > READABLE | OPEN
    assert len(found) > 17
    return found


def ask(client: httpx.Client, method: str, path: str) -> httpx.Response:
    return client.request(method, re.sub(r"{.*?}", "anything", path))


@pytest.mark.parametrize("token", [None, "wrong", ADMIN_TOKEN + "x", "é", READ_TOKEN[:-1]])
def test_no_route_works_without_a_valid_token(admin: RunningAdmin, token: str | None) -> None:
    headers = {} if token is None else {b"Authorization": b"Bearer " + token.encode()}
    with httpx.Client(base_url=admin.url, headers=headers) as client:
        for method, path in routes(admin) - OPEN:
            answer = ask(client, method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Labelcast-Reason"] == "unauthenticated"
            assert method == "HEAD" or answer.json()["reason"] == "unauthenticated"


def test_the_read_token_reads_and_does_nothing_else(admin: RunningAdmin) -> None:
    with admin.client(READ_TOKEN) as client:
        for method, path in routes(admin) - OPEN:
            status = ask(client, method, path).status_code
            assert (status == 403) is ((method, path) not in READABLE), (method, path)
            assert status != 401


def test_every_route_asks(admin: RunningAdmin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelcast_server.access.authorize.GRANTS", {})
    with admin.client() as client:
        for method, path in routes(admin) - OPEN:
            assert ask(client, method, path).status_code == 403, (method, path)


def test_a_route_that_forgot_to_ask_answers_nobody(admin: RunningAdmin) -> None:
    router = APIRouter()

    @router.get("/forgetful")
    async def forgetful(publisher: PublisherDep) -> str:
        return str(publisher)

    tokens = Tokens(admin_token=ADMIN_TOKEN, read_token=None)
    app = create_app(admin.services, tokens, ping=_ping)
    app.include_router(router)
    with TestClient(app) as client:
        answer = client.get("/forgetful", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert (answer.status_code, answer.json()["reason"]) == (403, "permission_denied")


async def _ping() -> None:
    return


def test_the_admin_api_needs_a_token_even_where_labels_are_open(redis_url: str) -> None:
    with running_admin(redis_url, read_token=None) as admin, admin.client(None) as client:
        for method, path in routes(admin) - OPEN:
            assert ask(client, method, path).status_code == 401, (method, path)
        # Someone who sends a token means it.
        assert client.get("/v1/tags", headers={"Authorization": "Bearer x"}).status_code == 401


def test_open_routes_need_no_token(admin: RunningAdmin) -> None:
    with admin.client(None) as client:
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/openapi.json").status_code == 200
        assert "swagger" in client.get("/docs").text
        assert client.get("/redoc").status_code == 404


@pytest.mark.parametrize(
    "header", [f"Basic {ADMIN_TOKEN}", ADMIN_TOKEN, "Bearer", "Bearer ", f"Bearer{ADMIN_TOKEN}"]
)
def test_other_schemes_are_no_token(admin: RunningAdmin, header: str) -> None:
    with admin.client(None) as client:
        answer = client.get("/v1/tags", headers={"Authorization": header.strip()})
        assert answer.status_code == 401


def test_the_client_raises_what_the_service_raised(admin: RunningAdmin, tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path, num_samples=4)
    for token, error in (
        (None, UnauthenticatedError),
        ("wrong", UnauthenticatedError),
        (READ_TOKEN, PermissionDeniedError),
    ):
        with admin.registry(token) as registry, pytest.raises(error):
            registry.push(label_set, "glyphs:v1")
    with admin.registry(READ_TOKEN) as registry:
        assert registry.list() == []


def test_a_body_is_not_read_before_the_token(admin: RunningAdmin) -> None:
    # A body that cannot be parsed would be answered 400 had it been looked at.
    with admin.client("wrong") as client:
        for method, path in (("POST", "/v1/uploads"), ("PUT", "/v1/tags/a")):
            answer = client.request(
                method, path, content=b"{", headers={"Content-Type": "application/json"}
            )
            assert answer.status_code == 401


def test_secrets_are_in_no_answer_and_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    password, texts = "redis-password-of-tests", []
    label_set, _ = make_label_set(tmp_path / "label-set", num_samples=4)
    (tmp_path / "redis").mkdir()
    with running_redis(tmp_path / "redis", "--requirepass", password) as redis:
        url = f"redis://:{password}@127.0.0.1:{redis.port}/0"
        with running_admin(url) as admin:
            with admin.registry() as registry:
                registry.push(label_set, "glyphs:v1")
            redis.kill()
            with admin.client() as client:
                health = client.get("/health")
                assert (health.status_code, health.json()) == (503, {"status": "unavailable"})
                for method, path in routes(admin):
                    answer = ask(client, method, path)
                    texts += [answer.text, str(answer.headers)]
            for token, error in (
                (ADMIN_TOKEN, StoreUnavailableError),
                (ADMIN_TOKEN + "-wrong", UnauthenticatedError),
            ):
                with (
                    admin.registry(token, patience_seconds=0) as registry,
                    pytest.raises(error) as caught,
                ):
                    registry.push(label_set, "glyphs:v2")
                texts += [caught.value.message, str(caught.value.facts), repr(registry)]
    # httpx and the tests' own client log at debug level too, the token never among it.
    texts += [f"{record.getMessage()} {record.exc_text}" for record in caplog.records]
    for secret in (password, ADMIN_TOKEN, READ_TOKEN):
        assert not [text for text in texts if secret in text]
