"""Advice of the admin API and of its client is tried, against a server on loopback."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from labelcast.cli.app import app
from labelcast.errors import DeadlineExceededError, ServiceUnavailableError
from labelcast.label_set import digest_of
from labelcast.registry.client import Registry
from tests.factories.advice import Case, try_advice
from tests.server.admin.cutting_proxy import CuttingProxy
from tests.server.admin.running_admin import ADMIN_TOKEN, RunningAdmin, running_admin

CONTENT = bytes(2500)


@dataclass(frozen=True)
class Office:
    """A server, where its Redis is, and an empty directory of each test's own."""

    admin: RunningAdmin
    redis_url: str
    directory: Path

    def list(self, url: str | None = None, timeout_seconds: float = 60) -> object:
        """Ask, without waiting for a service that is away."""
        with Registry(
            url or self.admin.url, ADMIN_TOKEN, timeout_seconds=timeout_seconds, patience_seconds=0
        ) as registry:
            return registry.list()

    def command(self, *words: str, token: str | None = None) -> object:
        """A command of `labelcast`, with LABELCAST_TOKEN if it is given."""
        environment = {} if token is None else {"LABELCAST_TOKEN": token}
        with patch.dict("os.environ", environment):
            return app(["list", "--admin", self.admin.url, *words], standalone_mode=False)

    def token_file(self) -> str:
        path = self.directory / "token"
        path.write_text(ADMIN_TOKEN)
        path.chmod(0o600)
        return str(path)

    def upload(self, total: int) -> None:
        """Upload a blob by hand, of which each request says how many bytes it has in all."""
        wanted = {"digest": digest_of(CONTENT), "size": len(CONTENT), "chunk_bytes": 1000}
        announced = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"bytes 0-2499/{total}",
        }
        with self.admin.registry() as registry:
            ask = registry._rest.request
            address = f"/v1/uploads/{ask('POST', '/v1/uploads', json=wanted)['upload_id']}"
            ask("PATCH", address, content=CONTENT, headers=announced)
            ask("PUT", address, params={"digest": digest_of(CONTENT)})


@contextmanager
def unused_port() -> Iterator[int]:
    """Held but not listened on: nobody else can be given it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def asked_where_nobody_is(at: Office) -> None:
    with unused_port() as port:
        at.list(f"http://127.0.0.1:{port}")


def asked_where_it_runs(at: Office) -> None:
    at.list()
    with unused_port() as port:
        pass
    with running_admin(at.redis_url, port=port):
        at.list(f"http://127.0.0.1:{port}")


def asked_before_it_serves(at: Office, *, timeout_seconds: float) -> None:
    """A service that listens, and answers only half a second later, or not at all."""
    late = RunningAdmin(at.redis_url, allow_unsafe_store=False, read_token=None)
    begin = threading.Timer(0.5, late.start)
    begin.start()
    try:
        at.list(late.url, timeout_seconds=timeout_seconds)
    finally:
        begin.join()
        late.stop()


def asked_when_it_was_started_again(at: Office) -> None:
    hanging = RunningAdmin(at.redis_url, allow_unsafe_store=False, read_token=None)
    with pytest.raises(DeadlineExceededError):
        at.list(hanging.url, timeout_seconds=0.2)
    hanging.start()
    try:
        at.list(hanging.url)
    finally:
        hanging.stop()


def waited_or_started_again(at: Office) -> None:
    asked_before_it_serves(at, timeout_seconds=60)
    asked_when_it_was_started_again(at)


def asked_over_a_network(at: Office, *, attempts: int) -> None:
    """Ask over connections of which the first breaks off."""
    with (
        CuttingProxy(at.admin.port, cut_after_bytes=[1]) as proxy,
        Registry(f"http://127.0.0.1:{proxy.port}", ADMIN_TOKEN, patience_seconds=0) as registry,
    ):
        for _ in range(attempts - 1):
            with pytest.raises(ServiceUnavailableError):
                registry.list()
        registry.list()


CASES: list[Case[Office]] = [
    Case(
        "check the URL, and that the service runs",
        asked_where_nobody_is,
        asked_where_it_runs,
    ),
    Case(
        "gave no answer within 0.2 s; wait longer, or start it again",
        lambda at: asked_before_it_serves(at, timeout_seconds=0.2),
        waited_or_started_again,
    ),
    Case(
        "broke off; try again",
        lambda at: asked_over_a_network(at, attempts=1),
        lambda at: asked_over_a_network(at, attempts=2),
    ),
    Case(
        "or give the command line --token-file or LABELCAST_TOKEN",
        lambda at: at.command(),
        lambda at: (
            at.command("--token-file", at.token_file()),
            at.command(token=ADMIN_TOKEN),
        ),
    ),
    Case(
        "send the blob that the upload was begun for",
        lambda at: at.upload(total=2600),
        lambda at: at.upload(total=2500),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(
    case: Case[Office], admin: RunningAdmin, redis_url: str, tmp_path: Path
) -> None:
    try_advice(case, Office(admin, redis_url, tmp_path))
