"""Labels and tokens leave this machine encrypted, or because somebody said that they may not be."""

import pickle
from collections.abc import Callable, Iterator

import pytest

import labelcast
from labelcast import AsyncLabelClient, LabelClient
from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from labelcast.errors import InvalidRequestError, NetworkError
from labelcast.registry.client import Registry
from tests.factories.recording_proxy import RecordingProxy, recording_proxy

ELSEWHERE = "labels.example.invalid"
HOSTS = [ELSEWHERE, "192.0.2.7", "[2001:db8::1]", "localhost.invalid"]
PROXIES = ("http_proxy", "https_proxy", "grpc_proxy")


@pytest.fixture
def on_the_way(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingProxy]:
    """Sees every connection to another machine."""
    with recording_proxy() as proxy:
        for variable in PROXIES:
            monkeypatch.setenv(variable, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        yield proxy


WAYS: dict[str, Callable[[str], object]] = {
    "client": lambda host: LabelClient(f"{host}:7070", token="s3cret"),
    "asynchronous client": lambda host: AsyncLabelClient(f"{host}:7070", token="s3cret"),
    "target of gRPC": lambda host: LabelClient(f"dns:///{host}:7070", token="s3cret"),
    "open": lambda host: labelcast.open("mine:v1", address=f"{host}:7070", token="s3cret"),
    "registry": lambda host: Registry(f"http://{host}:7071", "s3cret"),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_sent_in_plain_text(host: str, way: str, on_the_way: RecordingProxy) -> None:
    with pytest.raises(InvalidRequestError, match="in plain text, for everyone on the way"):
        WAYS[way](host)
    assert on_the_way.requests == []


@pytest.mark.parametrize(
    "command",
    [
        ["pull", "mine:v1", "--address", f"{ELSEWHERE}:7070", "--out", "nowhere"],
        ["list", "--admin", f"http://{ELSEWHERE}:7071"],
    ],
)
def test_commands_send_nothing_either(
    command: list[str], on_the_way: RecordingProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(app, name="labelcast", arguments=[*command, "--token", "s3cret"]) == 1
    assert "in plain text, for everyone on the way" in capsys.readouterr().err
    assert on_the_way.requests == []


def test_the_witness_sees_what_is_allowed(on_the_way: RecordingProxy) -> None:
    with (
        LabelClient(f"{ELSEWHERE}:7070", allow_plaintext=True, reconnect_seconds=0) as client,
        pytest.raises(NetworkError),
    ):
        client.open("mine:v1")
    with (
        Registry(f"http://{ELSEWHERE}:7071", patience_seconds=0, allow_plaintext=True) as registry,
        pytest.raises(NetworkError),
    ):
        registry.list()
    assert [ELSEWHERE in request for request in on_the_way.requests] == [True, True]


def test_what_was_allowed_survives_pickling() -> None:
    allowed = LabelClient(f"{ELSEWHERE}:7070", allow_plaintext=True)
    encrypted = LabelClient(f"{ELSEWHERE}:7070", tls=True)
    for client in (allowed, encrypted):
        pickle.loads(pickle.dumps(client)).close()
