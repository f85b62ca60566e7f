"""Proxies of the environment: never for this machine, by name for others."""

from collections.abc import Iterator
from importlib.metadata import requires
from typing import Any

import pytest

from labelcast import AsyncLabelClient, LabelClient
from labelcast.errors import InvalidRequestError, NetworkError
from labelcast.network.proxies import (
    grpc_proxy,
    http_proxy,
    is_this_machine,
    proxy_variables,
)
from labelcast.registry.client import Registry
from tests.factories.recording_proxy import PROXY_VARIABLES, RecordingProxy, recording_proxy

ELSEWHERE = "labels.test"
THIS_MACHINE = [
    "127.0.0.1",
    "127.8.9.10",
    "127.1",
    "::1",
    "::ffff:127.0.0.1",
    "localhost",
    "LocalHost.",
    "labels.localhost",
    "0.0.0.0",
    "::",
]
OTHER_MACHINES = [ELSEWHERE, "10.0.0.1", "128.0.0.1", "localhost.test", "fe80::1%eth0", "fd00::1"]


@pytest.fixture
def proxy() -> Iterator[RecordingProxy]:
    with recording_proxy() as running:
        yield running


def ask_over_http(host: str, port: int = 7071) -> str:
    """The message with which it fails."""
    url = f"http://{host}:{port}"
    with Registry(url, "s3cret", patience_seconds=0, allow_plaintext=True) as registry:
        with pytest.raises(NetworkError) as caught:
            registry.list()
        return caught.value.message


def ask_over_grpc(address: str) -> str:
    """The message with which it fails."""
    quickly: dict[str, Any] = {"reconnect_seconds": 0, "deadline_seconds": 5}
    with LabelClient(address, token="s3cret", allow_plaintext=True, **quickly) as client:
        with pytest.raises(NetworkError) as caught:
            client.open("mine:v1")
        return caught.value.message


async def ask_asynchronously(address: str) -> str:
    """The message with which it fails."""
    quickly: dict[str, Any] = {"reconnect_seconds": 0, "deadline_seconds": 5}
    async with AsyncLabelClient(address, allow_plaintext=True, **quickly) as client:
        with pytest.raises(NetworkError) as caught:
            await client.open("mine:v1")
        return caught.value.message


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_this_machine_is_known_by_all_its_names(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", OTHER_MACHINES)
def test_other_machines_are_not_taken_for_this_one(host: str) -> None:
    assert not is_this_machine(host)


@pytest.mark.parametrize("variable", PROXY_VARIABLES)
async def test_loopback_never_uses_a_proxy(
    variable: str, proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert "proxy" not in ask_over_http(host, port=1)
        assert "proxy" not in ask_over_grpc(f"{host}:1")
        assert "proxy" not in await ask_asynchronously(f"{host}:1")
    assert "proxy" not in ask_over_grpc("unix:/nowhere/labelcast.sock")
    assert proxy.requests == []


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_over_http_a_failure_names_the_variable_and_the_way_around(
    variable: str, proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    message = ask_over_http(ELSEWHERE)
    assert f"the proxy that {variable} names: add {ELSEWHERE} to no_proxy" in message
    assert [each.partition("?")[0] for each in proxy.asked] == [
        f"GET http://{ELSEWHERE}:7071/v1/label-sets"
    ]
    monkeypatch.setenv("no_proxy", ELSEWHERE)
    assert http_proxy("http", ELSEWHERE, 7071) is None


def test_over_https_a_failure_names_the_variable_too(
    proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    refused = pytest.raises(NetworkError, match="the proxy that HTTPS_PROXY names")
    url = f"https://{ELSEWHERE}"
    with Registry(url, "s3cret", patience_seconds=0) as registry, refused as caught:
        registry.list()
    said = f"the proxy opens no connection to {url} and says: 403 Forbidden; this went through"
    assert said in caught.value.message
    assert "certificate" not in caught.value.message
    assert proxy.asked == [f"CONNECT {ELSEWHERE}:443"]
    assert "s3cret" not in proxy.requests[0]


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
async def test_over_grpc_a_failure_names_the_variable_and_the_way_around(
    variable: str, proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, proxy.url)
    address = f"{ELSEWHERE}:7070"
    said = f"the proxy that {variable} names: add {ELSEWHERE} to no_proxy"
    assert said in ask_over_grpc(address)
    assert said in await ask_asynchronously(address)
    assert set(proxy.asked) == {f"CONNECT {address}"}
    monkeypatch.setenv("no_proxy", ELSEWHERE)
    assert grpc_proxy(address) is None


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY", "no_grpc_proxy"])
def test_grpc_keeps_every_exception(
    name: str, proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv(name, "test")
    assert grpc_proxy(f"{ELSEWHERE}:7070") is None


@pytest.mark.parametrize(
    ("entry", "host", "listed"),
    [
        ("*", ELSEWHERE, True),
        (" labels.test , other", ELSEWHERE, True),
        ("LABELS.test.", ELSEWHERE, True),
        (".test", ELSEWHERE, True),
        ("*.test", ELSEWHERE, True),
        ("labels.test:7071", ELSEWHERE, True),
        ("labels.test:7070", ELSEWHERE, False),
        ("els.test", ELSEWHERE, False),
        ("", ELSEWHERE, False),
        (",.,*x", ELSEWHERE, False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.0/8", "10.200.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("0.0.1", "10.0.0.1", False),
        ("10.0.0.1:7071", "10.0.0.1", True),
        ("fd00::/8", "fd00::1", True),
        ("[fd00::1]:7071", "fd00::1", True),
        ("[fd00::1]", "fd00::1", True),
    ],
)
def test_what_no_proxy_lists(
    entry: str, host: str, listed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "proxy.test:3128")
    monkeypatch.setenv("no_proxy", entry)
    found = http_proxy("http", host, 7071)
    assert (found is None) is listed
    assert found is None or found.url == "http://proxy.test:3128"


def test_an_empty_variable_takes_a_proxy_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.test")
    monkeypatch.setenv("http_proxy", "")
    assert http_proxy("http", ELSEWHERE, 80) is None
    monkeypatch.setenv("https_proxy", "http://proxy.test")
    assert grpc_proxy(f"{ELSEWHERE}:1") is not None
    monkeypatch.setenv("grpc_proxy", "")
    assert grpc_proxy(f"{ELSEWHERE}:1") is None


def test_the_variable_of_the_scheme_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.test")
    monkeypatch.setenv("HTTPS_PROXY", "http://secure.test")
    found = http_proxy("https", ELSEWHERE, 443), http_proxy("http", ELSEWHERE, 80)
    assert [proxy and proxy.variable for proxy in found] == ["HTTPS_PROXY", "ALL_PROXY"]
    assert proxy_variables() == ["HTTPS_PROXY", "ALL_PROXY"]


def test_credentials_of_a_proxy_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://somebody:s3cret@proxy.test:1")
    assert "s3cret" not in repr(http_proxy("http", ELSEWHERE, 80))
    assert "s3cret" not in repr(grpc_proxy(f"{ELSEWHERE}:1"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("socks5://127.0.0.1:1", "names a SOCKS proxy, which needs another package"),
        (
            "gopher://127.0.0.1:1",
            "holds no URL of a proxy; write it like http://proxy.example.org:3128",
        ),
        ("http://[::1", "holds no URL of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_one_line(
    url: str, says: str, proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", url)
    with pytest.raises(InvalidRequestError, match=f"^ALL_PROXY {says}"):
        Registry(f"http://{ELSEWHERE}:7071", None, allow_plaintext=True)
    # Each piece of advice: another URL, or an exception. This machine never needed either.
    monkeypatch.setenv("ALL_PROXY", proxy.url)
    assert "ALL_PROXY" in ask_over_http(ELSEWHERE)
    monkeypatch.setenv("ALL_PROXY", url)
    Registry("http://127.0.0.1:7071", None).close()
    monkeypatch.setenv("NO_PROXY", ELSEWHERE)
    Registry(f"http://{ELSEWHERE}:7071", None, allow_plaintext=True).close()


def test_the_package_that_is_advised_brings_socks() -> None:
    assert any("socks" in each and "socksio" in each for each in requires("httpx") or [])
