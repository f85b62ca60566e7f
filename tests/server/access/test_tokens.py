"""Who asks: every spelling of a token, whether a service is open for reading or not."""

import pytest

from labelcast.errors import LabelcastError, UnauthenticatedError
from labelcast_server.access.principal import Principal
from labelcast_server.access.tokens import Tokens

CLOSED = Tokens(admin_token="the-admin", read_token="a-reader")
OPEN = Tokens(admin_token="the-admin", read_token=None)
READER = "Bearer a-reader"
NOBODY = [
    "",
    " ",
    "Bearer",
    "Bearer ",
    "Bearer  ",
    "Bearer the-admi",
    "Bearer the-adminn",
    "Bearer THE-ADMIN",
    "Bearer Bearer the-admin",
    "Bearer the-admin, Bearer a-reader",
    "Bearer None",
    "Basic the-admin",
    "the-admin",
    "bearer:the-admin",
    "Bearer\tthe-admin",
    "Bearer ʇɥǝ-ɐpɯᴉu",
]


@pytest.mark.parametrize("tokens", [OPEN, CLOSED], ids=["open", "closed"])
def test_the_admin_is_known(tokens: Tokens) -> None:
    for spelled in (
        "Bearer the-admin",
        "bearer the-admin",
        "BEARER the-admin",
        "Bearer  the-admin ",
    ):
        assert tokens.identify(spelled) is Principal.ADMIN


def test_a_reader_is_known_where_there_is_a_read_token() -> None:
    assert CLOSED.identify(READER) is Principal.READER
    with pytest.raises(UnauthenticatedError):
        OPEN.identify(READER)


@pytest.mark.parametrize("tokens", [OPEN, CLOSED], ids=["open", "closed"])
@pytest.mark.parametrize("authorization", NOBODY, ids=repr)
def test_nobody_else_is_anybody(authorization: str, tokens: Tokens) -> None:
    with pytest.raises(UnauthenticatedError):
        tokens.identify(authorization)


def test_who_sends_no_token_is_anyone_where_reading_is_open() -> None:
    assert OPEN.identify(None) is Principal.ANYONE
    with pytest.raises(UnauthenticatedError):
        CLOSED.identify(None)


def test_who_has_no_token_is_told_how_to_give_one() -> None:
    for way in ("authorization: Bearer TOKEN", "--token-file", "LABELCAST_TOKEN"):
        with pytest.raises(UnauthenticatedError, match=way):
            CLOSED.identify(None)


@pytest.mark.parametrize("authorization", [READER, *NOBODY], ids=repr)
def test_no_refusal_repeats_a_token(authorization: str) -> None:
    with pytest.raises(LabelcastError) as caught:
        OPEN.identify(authorization)
    shown = f"{caught.value!r} {caught.value.facts}"
    assert "the-admi" not in shown
    assert "a-reader" not in shown


def test_tokens_are_not_kept() -> None:
    assert "the-admin" not in repr(vars(CLOSED))
