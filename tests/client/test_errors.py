"""Every error travels: one reason, one class, one status, on both sides."""

import logging
import pickle
import re

import grpc
import pytest

import labelcast_server.settings  # noqa: F401 - defines an error of its own
from labelcast import errors
from labelcast.errors import (
    ERRORS_BY_REASON,
    InternalServiceError,
    LabelcastError,
    ViewNotFoundError,
    error_from_reason,
)
from labelcast_server.error_catalog import CATALOG, publicise, status_of


def below(root: type[LabelcastError]) -> list[type[LabelcastError]]:
    return [found for child in root.__subclasses__() for found in (child, *below(child))]


EVERY: list[type[LabelcastError]] = [LabelcastError, *below(LabelcastError)]
OURS = [error for error in EVERY if error.__module__ == errors.__name__]
FAMILIES = [error for error in OURS if LabelcastError in error.__bases__]
every_error = pytest.mark.parametrize("error", EVERY, ids=lambda error: error.__name__)


def test_reasons_are_unique_and_stable_in_form() -> None:
    reasons = [error.reason for error in EVERY]
    assert len(set(reasons)) == len(reasons)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", reason) for reason in reasons)
    assert all("reason" in vars(error) for error in EVERY)


def test_reasons_follow_names() -> None:
    for error in OURS:
        words = re.findall(r"[A-Z][a-z]+", error.__name__.removesuffix("Error"))
        if error not in (LabelcastError, InternalServiceError):
            assert error.reason == "_".join(words).lower()


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"^ {4}([ │]*)[├└]── (\w+)", errors.__doc__ or "", re.MULTILINE)
    parents: list[str] = ["LabelcastError"]
    for indent, name in drawn:
        depth = len(indent) // 4
        del parents[depth + 1 :]
        assert getattr(errors, name).__bases__[0].__name__ == parents[-1]
        parents.append(name)
    assert {name for _, name in drawn} == {error.__name__ for error in OURS[1:]}


@pytest.mark.parametrize("error", OURS, ids=lambda error: error.__name__)
def test_the_other_side_raises_the_same_class(error: type[LabelcastError]) -> None:
    first = error("something is wrong", sample_id=7, where=None)
    twin = error_from_reason(first.reason, first.message, first.facts)
    assert type(twin) is error
    assert twin.facts == first.facts == {"sample_id": "7", "where": "None"}
    assert str(twin) == "something is wrong"
    assert ERRORS_BY_REASON[error.reason] is error


@pytest.mark.parametrize("reason", ["", "settings", "from_the_future", "ViewNotFoundError"])
def test_an_unknown_reason_stays_intelligible(reason: str) -> None:
    twin = error_from_reason(reason, "what happened", {"field": "x"})
    assert type(twin) is InternalServiceError
    assert (twin.message, twin.facts) == ("what happened", {"field": "x"})


@pytest.mark.parametrize("name", ["message", "self", "reason", "args", "facts"])
def test_a_fact_may_have_any_name(name: str) -> None:
    assert error_from_reason("data", "told", {name: "fact"}).facts == {name: "fact"}


def test_messages_are_one_line() -> None:
    assert LabelcastError("a\n b\r\n\tc ").message == "a b c"


@every_error
def test_errors_pass_between_processes(error: type[LabelcastError]) -> None:
    copy = pickle.loads(pickle.dumps(error("gone", path="/x")))
    assert type(copy) is error
    assert (copy.message, copy.facts) == ("gone", {"path": "/x"})


@pytest.mark.parametrize("family", FAMILIES, ids=lambda error: error.__name__)
def test_every_family_is_in_the_catalogue(family: type[LabelcastError]) -> None:
    assert family in CATALOG


@every_error
def test_statuses_exist(error: type[LabelcastError]) -> None:
    status = status_of(error("wrong"))
    assert status.grpc in grpc.StatusCode.__members__
    assert status.grpc != "OK"
    assert 400 <= status.http <= 599


@every_error
def test_the_nearest_entry_counts(error: type[LabelcastError]) -> None:
    bases = [base for base in error.__mro__ if base in CATALOG]
    expected = CATALOG[bases[0]] if bases else CATALOG[InternalServiceError]
    assert status_of(error("wrong")) == expected


def test_a_caller_can_tell_its_own_fault_from_the_service_s() -> None:
    callers = errors.RequestError, errors.NotFoundError, errors.AuthorizationError
    services = errors.NetworkError, errors.StorageError
    for error in EVERY:
        if issubclass(error, callers):
            assert status_of(error("wrong")).http < 500
        if issubclass(error, services) and error is not errors.StoreUnsafeError:
            assert status_of(error("wrong")).http >= 500


def test_our_errors_are_public() -> None:
    error = ViewNotFoundError("no such view", sample_id=3)
    assert publicise(error) is error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("redis://user:s3cret@10.0.0.7:6379 refused"),
        KeyError("s3cret"),
        UnicodeDecodeError("utf-8", b"s3cret", 0, 1, "s3cret"),
        ExceptionGroup("s3cret", [ValueError("s3cret")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_ours_is_hidden_and_logged(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    error.__cause__ = LabelcastError("ours, but s3cret")
    with caplog.at_level(logging.ERROR, "labelcast_server"):
        public = publicise(error)
    assert type(public) is InternalServiceError
    shown = f"{public} {public!r} {public.facts} {public.__cause__} {public.__context__}"
    assert "s3cret" not in shown
    (record,) = caplog.records
    assert public.facts["error_id"] in public.message
    assert public.facts["error_id"] in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_every_hidden_error_has_an_id_of_its_own() -> None:
    assert len({publicise(ValueError()).facts["error_id"] for _ in range(50)}) == 50
