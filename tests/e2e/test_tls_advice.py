"""What clients say of a failed handshake is tried, over gRPC and over REST."""

import contextlib
import re
from dataclasses import dataclass, replace
from typing import Any

import pytest

from labelcast import LabelClient, Tls
from labelcast.errors import NotFoundError
from labelcast.registry.client import Registry
from labelcast_glyphs.certificates import Authority
from tests.e2e.guarded_service import NO_PATIENCE, Guarded
from tests.e2e.running_service import RunningService
from tests.factories.advice import Case, try_advice


@dataclass(frozen=True)
class Peers:
    """A service with mutual TLS, one in plain text, and how both are asked: by gRPC or by REST."""

    guarded: Guarded
    plain: RunningService
    rest: bool

    def ask(self, tls: Tls | None, host: str = "127.0.0.1") -> bool:
        """Ask the guarded service: whether it answers."""
        return self._ask(self.guarded.service, tls, host)

    def ask_plain(self, tls: Tls | None) -> bool:
        """Ask the service in plain text: whether it answers."""
        return self._ask(self.plain, tls, "127.0.0.1")

    def shown(self, *hosts: str) -> Tls:
        """Have a new certificate shown; how a client asks that trusts it and is trusted."""
        return self.guarded.tls(self.guarded.authority("shown", *hosts))

    def unproven(self) -> Tls:
        """A client without a certificate."""
        return replace(self.shown(), certificate=None, key=None)

    def stranger(self) -> Tls:
        """A client whose certificate comes from an authority that the service does not know."""
        pair = Authority(self.guarded.directory, "unknown").issue("unknown", "a.example.org")
        return replace(self.shown(), certificate=pair.certificate, key=pair.key)

    def mistaken(self) -> Tls:
        """A client that trusts another authority."""
        return replace(self.shown(), ca=Authority(self.guarded.directory, "another").file)

    def _ask(self, service: RunningService, tls: Tls | None, host: str) -> bool:
        if self.rest:
            scheme, port = "http" if tls is None else "https", service.admin.rpartition(":")[2]
            asked = Registry(
                f"{scheme}://{host}:{port}", service.token(), tls=tls, patience_seconds=0
            )
            with asked as registry:
                registry.list()
        else:
            address = service.grpc.replace("127.0.0.1", host)
            options: dict[str, Any] = NO_PATIENCE | {"tls": tls or False}
            # That there is no such label set is an answer, too.
            with contextlib.suppress(NotFoundError), LabelClient(address, **options) as client:
                client.open("none:v1")
        return True


CASES: list[Case[Peers]] = [
    Case(
        "give that authority's certificate as Tls(ca=…) or --tls-ca",
        lambda at: at.ask(at.mistaken()),
        lambda at: at.ask(at.shown()),
    ),
    Case(
        "use the name that it is for, or give that as Tls(server_name=…) or --tls-server-name",
        lambda at: at.ask(at.shown("localhost")),
        lambda at: (
            at.ask(at.shown("localhost"), host="localhost"),
            at.ask(replace(at.shown("labels.example.org"), server_name="labels.example.org")),
        ),
    ),
    Case(
        "if it expects TLS, use tls=True or tls=Tls(ca=…), --tls or --tls-ca",
        lambda at: at.ask(None),
        lambda at: at.ask(at.shown()),
    ),
    Case(
        "--tls-certificate and --tls-key",
        lambda at: at.ask(at.unproven()),
        lambda at: at.ask(at.shown()),
    ),
    Case(
        "accept this client's certificate",
        lambda at: at.ask(at.stranger()),
        lambda at: at.ask(at.shown()),
    ),
    Case(
        "leave out tls (https:// for the admin API) if it is on this machine, or start the service"
        " with --tls-certificate and --tls-key",
        lambda at: at.ask_plain(at.shown()),
        lambda at: (at.ask_plain(None), at.ask(at.shown())),
    ),
]


@pytest.mark.parametrize("rest", [False, True], ids=["grpc", "rest"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(
    case: Case[Peers], rest: bool, guarded: Guarded, service: RunningService
) -> None:
    try_advice(case, Peers(guarded, service, rest))
