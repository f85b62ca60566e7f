"""The one place that decides who may do what to which resource."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from labelcast.errors import PermissionDeniedError
from labelcast_server.access.principal import Principal
from labelcast_server.access.tokens import token_needed


class Action(StrEnum):
    """What a request does to a resource."""

    READ_LABELS = "read the labels of"
    INSPECT = "inspect"
    WRITE = "write"
    STAGE = "record"
    PUBLISH = "publish"
    RETIRE = "retire"


class Kind(StrEnum):
    """Kinds of resources."""

    LABEL_SET = "label set"
    BLOB = "blob"
    UPLOAD = "upload"
    TAG = "tag"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Resource:
    """What a request acts on.

    Attributes:
        kind: kind of resource.
        name: tag, digest or upload ID; None for all resources of the kind.
    """

    kind: Kind
    name: str | None = None


_EVERYONE = frozenset(Principal)
_WITH_TOKEN = frozenset({Principal.ADMIN, Principal.READER})
_ADMIN = frozenset({Principal.ADMIN})

# An action that is not listed is allowed to nobody.
GRANTS: Mapping[tuple[Action, Kind], frozenset[Principal]] = {
    (Action.READ_LABELS, Kind.LABEL_SET): _EVERYONE,
    (Action.INSPECT, Kind.LABEL_SET): _WITH_TOKEN,
    (Action.INSPECT, Kind.BLOB): _WITH_TOKEN,
    (Action.INSPECT, Kind.TAG): _WITH_TOKEN,
    (Action.INSPECT, Kind.METRICS): _WITH_TOKEN,
    (Action.WRITE, Kind.UPLOAD): _ADMIN,
    (Action.STAGE, Kind.LABEL_SET): _ADMIN,
    (Action.PUBLISH, Kind.TAG): _ADMIN,
    (Action.RETIRE, Kind.LABEL_SET): _ADMIN,
}


def authorize(principal: Principal, action: Action, resource: Resource) -> None:
    """Return if `principal` may do `action` to `resource`, raise otherwise.

    Raises:
        UnauthenticatedError: not allowed, and the caller sent no token.
        PermissionDeniedError: not allowed with this token.
    """
    if principal in GRANTS.get((action, resource.kind), frozenset()):
        return
    if principal is Principal.ANYONE:
        raise token_needed()
    remedy = "" if principal is Principal.ADMIN else "; use the admin token"
    raise PermissionDeniedError(f"this token may not {action} {resource.kind}s{remedy}")
