"""Several servers behind one client, without any that answers: which is asked, and what is said."""

import pickle
import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from labelcast import AsyncLabelClient, LabelClient, Tls
from labelcast.errors import (
    InvalidRequestError,
    LabelcastError,
    ProtocolError,
    ServiceUnavailableError,
    TlsError,
)
from labelcast.network import keepalive
from labelcast.network.endpoint import addresses_of
from labelcast.network.places import Place, look_up
from labelcast.registry.client import Registry
from labelcast.remote.servers import Servers
from labelcast_glyphs.certificates import Authority, Pair
from tests.factories.names import NAME, Leads, name_that_leads

HERE = ("127.0.0.1", "127.0.0.2")


@pytest.fixture
def leads_to(monkeypatch: pytest.MonkeyPatch) -> Leads:
    return name_that_leads(monkeypatch)


@pytest.fixture
def nobody() -> Iterator[list[str]]:
    """Two addresses that are held but not listened on."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        yield [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a:7070", ("a:7070",)),
        ("a:7070,b:7070", ("a:7070", "b:7070")),
        ("a:7070, [::1]:7070", ("a:7070", "[::1]:7070")),
        (["a:7070", "unix:/run/b.sock"], ("a:7070", "unix:/run/b.sock")),
        ("a:7070,a:7070", ("a:7070",)),
        ("unix:/run/a,b.sock", ("unix:/run/a,b.sock",)),
        ("unix:/run/a.sock,unix:/run/b.sock", ("unix:/run/a.sock", "unix:/run/b.sock")),
    ],
)
def test_one_address_or_several(given: str | list[str], expected: tuple[str, ...]) -> None:
    assert addresses_of(given) == expected


@pytest.mark.parametrize(
    "given", ["a:7070,", ",a:7070", "a:7070,b", "a:7070;b:7070", [], ["a:7070", "http://b:7070"]]
)
def test_every_address_of_a_list_is_checked(given: str | list[str]) -> None:
    for client in (LabelClient, AsyncLabelClient):
        with pytest.raises(InvalidRequestError, match="must be host:port"):
            client(given)


def test_plain_text_is_refused_for_every_server_of_a_list() -> None:
    with pytest.raises(InvalidRequestError, match=r"would go to 192\.0\.2\.7 in plain text"):
        LabelClient("127.0.0.1:7070,192.0.2.7:7070")
    LabelClient("127.0.0.1:7070,192.0.2.7:7070", tls=True)


def test_a_list_travels_with_its_client() -> None:
    client = LabelClient(["127.0.0.1:1", "127.0.0.1:2"])
    assert pickle.loads(pickle.dumps(client)).__getstate__() == client.__getstate__()


def test_a_registry_is_that_of_one_server() -> None:
    with pytest.raises(InvalidRequestError, match="push to each server that keeps label sets"):
        Registry("http://127.0.0.1:7071,http://127.0.0.1:7072")
    for url in ("http://127.0.0.1:7071", "http://127.0.0.1:7072"):
        Registry(url).close()


async def test_one_line_names_every_server_that_is_dead(nobody: list[str]) -> None:
    def is_clear(error: LabelcastError) -> None:
        assert isinstance(error, ServiceUnavailableError)
        assert "no server answers as asked: " in error.message
        assert all(f"{each} (service_unavailable)" in error.message for each in nobody)
        assert "\n" not in error.message

    with LabelClient(",".join(nobody), reconnect_seconds=0) as client:
        with pytest.raises(ServiceUnavailableError) as caught:
            client.open("mine:v1")
        is_clear(caught.value)
    async with AsyncLabelClient(nobody, reconnect_seconds=0) as other:
        with pytest.raises(ServiceUnavailableError) as caught:
            await other.open("mine:v1")
        is_clear(caught.value)


def test_a_name_leads_to_each_of_its_servers(leads_to: Leads) -> None:
    address = f"{NAME}:7070"
    leads_to(*HERE)
    assert look_up(address) == tuple(Place(address, f"{each}:7070") for each in HERE)
    assert str(look_up(address)[1]) == f"127.0.0.2:7070 ({address})"
    leads_to("::1", *HERE)  # The same servers under addresses of both families.
    assert len(look_up(address)) == 2
    leads_to("::1", "::2")
    assert [each.target for each in look_up(address)] == ["[::1]:7070", "[::2]:7070"]


def test_a_name_that_leads_elsewhere_later_is_followed(leads_to: Leads) -> None:
    address = f"{NAME}:7070"
    leads_to(*HERE)
    servers = Servers([address], None, tls=None, allow_plaintext=True, asynchronous=False)
    left = servers.current.place
    (stays,) = {place.target for place in servers.places} - {left.target}
    leads_to("127.0.0.3", stays.rpartition(":")[0])
    servers.go_on(left)
    assert servers.current.place.target == stays
    servers.go_on(servers.current.place)
    assert servers.current.place.target == "127.0.0.3:7070"


@pytest.mark.parametrize(
    "address", [f"{NAME}:7070", f"dns:///{NAME}:7070", "unix:/run/a.sock", "localhost:7070"]
)
def test_what_is_one_server_is_left_to_grpc(address: str, leads_to: Leads) -> None:
    leads_to(*(HERE if address.startswith("dns:") else ("127.0.0.1", "::1")))
    assert look_up(address) == (Place(address, address),)


def test_a_name_behind_a_proxy_is_looked_up_by_the_proxy(
    leads_to: Leads, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads_to(*HERE)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert len(look_up(f"{NAME}:7070")) == 1
    monkeypatch.setenv("no_proxy", NAME)
    assert len(look_up(f"{NAME}:7070")) == 2


def encrypted_servers(pairs: list[Pair]) -> tuple[list[grpc.Server], int]:
    """Servers under one port of `HERE` that know no method, each with its certificate."""
    port, servers = 0, []
    for host, pair in zip(HERE, pairs, strict=True):
        server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
        credentials = grpc.ssl_server_credentials(
            [(Path(pair.key).read_bytes(), Path(pair.certificate).read_bytes())]
        )
        port = server.add_secure_port(f"{host}:{port}", credentials)
        server.start()
        servers.append(server)
    return servers, port


def test_every_server_of_a_name_must_have_a_certificate_for_the_name(
    leads_to: Leads, tmp_path: Path
) -> None:
    leads_to(*HERE)
    authority = Authority(tmp_path)
    pairs = [authority.issue("right", NAME), authority.issue("wrong", "127.0.0.2")]
    servers, port = encrypted_servers(pairs)
    try:
        said = {refused(f"{NAME}:{port}", authority.trusted()) for _ in range(2)}
    finally:
        for server in servers:
            server.stop(None).wait()
    assert said == {(ProtocolError, f"127.0.0.1:{port}"), (TlsError, f"127.0.0.2:{port}")}


def refused(address: str, tls: Tls) -> tuple[type[LabelcastError], str]:
    """What opening is refused with, and by whom."""
    with LabelClient(address, tls=tls) as client, pytest.raises(LabelcastError) as caught:
        client.open("mine:v1")
    (place,) = (host for host in HERE if host in caught.value.message)
    return type(caught.value), f"{place}:{address.rpartition(':')[2]}"


def test_clients_ask_no_more_often_than_the_service_permits() -> None:
    assert 2 * keepalive.PERMITTED_PING_SECONDS <= keepalive.CLIENT_PING_SECONDS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[
            (name, value)
            for name in ("deadline_seconds", "reconnect_seconds", "reply_seconds")
            for value in (-1, float("nan"), float("inf"), "5", None)
        ],
        *[("rows_in_flight", value) for value in (0, -1, 1.5, float("nan"), "x")],
    ],
)
def test_numbers_that_are_none_are_refused_before_anything_is_asked(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=f"{name} is .*, must be"):
        LabelClient("127.0.0.1:1", **{name: value})
