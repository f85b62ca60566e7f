"""Who may do what to what: the whole table, and what is not in it."""

from itertools import product

import pytest

from labelcast.errors import PermissionDeniedError, UnauthenticatedError
from labelcast_server.access.authorize import GRANTS, Action, Kind, Resource, authorize
from labelcast_server.access.caller import Caller
from labelcast_server.access.principal import Principal

READS = {
    (Action.INSPECT, Kind.BLOB),
    (Action.INSPECT, Kind.LABEL_SET),
    (Action.INSPECT, Kind.METRICS),
    (Action.INSPECT, Kind.TAG),
    (Action.READ_LABELS, Kind.LABEL_SET),
}
WRITES = {
    (Action.PUBLISH, Kind.TAG),
    (Action.RETIRE, Kind.LABEL_SET),
    (Action.STAGE, Kind.LABEL_SET),
    (Action.WRITE, Kind.UPLOAD),
}
ALLOWED = {
    Principal.ADMIN: READS | WRITES,
    Principal.READER: READS,
    Principal.ANYONE: {(Action.READ_LABELS, Kind.LABEL_SET)},
}


@pytest.mark.parametrize("principal", Principal)
@pytest.mark.parametrize(("action", "kind"), list(product(Action, Kind)))
def test_what_is_not_granted_is_refused(principal: Principal, action: Action, kind: Kind) -> None:
    resource = Resource(kind, "name")
    if (action, kind) in ALLOWED[principal]:
        authorize(principal, action, resource)
        return
    # Whoever has not said who they are may still do that.
    error = UnauthenticatedError if principal is Principal.ANYONE else PermissionDeniedError
    with pytest.raises(error):
        authorize(principal, action, resource)


def test_the_table_holds_nothing_else() -> None:
    assert GRANTS.keys() == READS | WRITES


def test_an_unknown_action_is_refused_even_to_the_admin() -> None:
    with pytest.raises(PermissionDeniedError, match=r"may not launch label sets$"):
        authorize(Principal.ADMIN, "launch", Resource(Kind.LABEL_SET))  # type: ignore[arg-type]


def test_a_refusal_says_what_and_names_nothing() -> None:
    with pytest.raises(PermissionDeniedError) as caught:
        authorize(Principal.READER, Action.PUBLISH, Resource(Kind.TAG, "mine:v1"))
    assert caught.value.message == "this token may not publish tags; use the admin token"


def test_a_request_of_which_nobody_asked_is_not_answered() -> None:
    caller = Caller(Principal.ADMIN)
    with pytest.raises(PermissionDeniedError):
        caller.check()
    with pytest.raises(PermissionDeniedError):
        caller.require(Action.PUBLISH, Resource(Kind.BLOB))
    with pytest.raises(PermissionDeniedError):
        caller.check()
    caller.require(Action.INSPECT, Resource(Kind.BLOB))
    caller.check()
