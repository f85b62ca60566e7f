"""Addresses, tokens and references that cannot work are refused before anything is sent."""

import pickle

import pytest

from labelcast import AsyncLabelClient, LabelClient
from labelcast.errors import InvalidRequestError
from labelcast.network.endpoint import check_address
from labelcast.registry.client import Registry

ADDRESSES = [
    "127.0.0.1:7070",
    "labels.example.org:7070",
    "label_service:1",
    "[::1]:65535",
    "[fe80::1%eth0]:7070",
    "unix:/run/labelcast.sock",
    "unix:///run/label cast.sock",
    "unix:labelcast.sock",
    "unix-abstract:labelcast",
    "dns:labels.example.org:7070",
    "dns:///labels.example.org:7070",
    "dns://8.8.8.8:53/labels.example.org:7070",
    "ipv4:127.0.0.1:7070",
    "ipv6:[::1]:7070",
]
NO_ADDRESSES = [
    "",
    "labels.example.org",
    "labels.example.org:",
    ":7070",
    "::1",
    "::1:7070",
    "[::1]",
    "127.0.0.1:0",
    "127.0.0.1:65536",
    "127.0.0.1:http",
    "127.0.0.1:７０７０",
    "127.0.0.1:7070\n",
    " 127.0.0.1:7070",
    "127.0.0.1:7070/v1",
    "http://127.0.0.1:7070",
    "https://somebody:s3cret@labels.example.org:7070",
    "unix:",
    "unix://",
    "unix:/run/\0",
    "unix:/run/\ud800",
    "dns:",
    "dns:///labels.example.org",
    "\ud800:7070",
]
NO_TOKENS = ["", " ", "s3cret token", "s3cret\n", "s3crët", "s3cret\ud800", "s3cret\0"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_that_grpc_knows_are_taken(address: str) -> None:
    check_address(address)


@pytest.mark.parametrize("address", NO_ADDRESSES, ids=ascii)
@pytest.mark.parametrize("client", [LabelClient, AsyncLabelClient])
def test_no_address_is_refused(
    client: type[LabelClient] | type[AsyncLabelClient], address: str
) -> None:
    with pytest.raises(InvalidRequestError, match="must be host:port") as caught:
        client(address)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("token", NO_TOKENS, ids=ascii)
def test_no_token_is_refused_by_every_client_alike(token: str) -> None:
    for make in (
        lambda: LabelClient("127.0.0.1:1", token=token),
        lambda: AsyncLabelClient("127.0.0.1:1", token=token),
        lambda: Registry("http://127.0.0.1:1", token),
    ):
        with pytest.raises(InvalidRequestError, match="visible ASCII") as caught:
            make()
        assert "s3cret" not in str(caught.value)


async def test_a_reference_that_is_no_text_is_refused() -> None:
    with LabelClient("127.0.0.1:1") as client, pytest.raises(InvalidRequestError, match="no tag"):
        client.open("\ud800")
    async with AsyncLabelClient("127.0.0.1:1") as other:
        with pytest.raises(InvalidRequestError, match="no tag"):
            await other.open("\ud800")
    with Registry("http://127.0.0.1:1") as registry:
        for call in (registry.inspect, registry.retire, lambda it: registry.tag("glyphs", it)):
            with pytest.raises(InvalidRequestError, match="no tag"):
                call("\ud800")


def test_settings_do_not_show_the_token() -> None:
    client = LabelClient("127.0.0.1:1", token="s3cret")
    assert "s3cret" not in repr(client.__getstate__())
    assert pickle.loads(pickle.dumps(client)).__getstate__() == client.__getstate__()
