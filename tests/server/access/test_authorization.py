"""Who may do what: every token against every scope."""

import pytest

from labelcast.errors import LabelcastError, PermissionDeniedError, UnauthenticatedError
from labelcast_server.access.authorization import Authorizer, Scope

CLOSED = Authorizer(admin_token="the-admin", read_token="a-reader")
OPEN = Authorizer(admin_token="the-admin", read_token=None)
ADMIN, READER = "Bearer the-admin", "Bearer a-reader"
NOBODY: list[str | None] = [
    None,
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


@pytest.mark.parametrize("authorizer", [OPEN, CLOSED], ids=["open", "closed"])
@pytest.mark.parametrize("scope", Scope)
def test_the_admin_may_do_everything(authorizer: Authorizer, scope: Scope) -> None:
    for spelled in (ADMIN, "bearer the-admin", "BEARER the-admin", "Bearer  the-admin "):
        authorizer.require(spelled, scope)


def test_a_reader_may_read_and_is_told_what_it_lacks() -> None:
    CLOSED.require(READER, Scope.READ)
    with pytest.raises(PermissionDeniedError, match="admin"):
        CLOSED.require(READER, Scope.ADMIN)


@pytest.mark.parametrize("authorization", NOBODY, ids=repr)
@pytest.mark.parametrize("scope", Scope)
def test_nobody_else_may_do_anything(authorization: str | None, scope: Scope) -> None:
    with pytest.raises(UnauthenticatedError):
        CLOSED.require(authorization, scope)


def test_who_has_no_token_is_told_how_to_give_one() -> None:
    for way in ("authorization: Bearer TOKEN", "--token-file", "LABELCAST_TOKEN"):
        with pytest.raises(UnauthenticatedError, match=way):
            CLOSED.require(None, Scope.READ)


@pytest.mark.parametrize("authorization", NOBODY, ids=repr)
def test_an_open_service_is_open_for_reading_alone(authorization: str | None) -> None:
    with pytest.raises(UnauthenticatedError):
        OPEN.require(authorization, Scope.ADMIN)


def test_an_open_service_asks_readers_for_nothing_but_refuses_wrong_tokens() -> None:
    OPEN.require(None, Scope.READ)
    with pytest.raises(UnauthenticatedError):
        OPEN.require(READER, Scope.READ)


@pytest.mark.parametrize("authorization", [READER, *NOBODY], ids=repr)
def test_no_refusal_repeats_a_token(authorization: str | None) -> None:
    with pytest.raises(LabelcastError) as caught:
        CLOSED.require(authorization, Scope.ADMIN)
    shown = f"{caught.value!r} {caught.value.facts}"
    assert "the-admi" not in shown
    assert "a-reader" not in shown


def test_tokens_are_not_kept() -> None:
    assert "the-admin" not in repr(vars(CLOSED))
