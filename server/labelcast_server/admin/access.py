"""What every route depends on: the right token, and the publisher."""

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from labelcast_server.access.authorization import Authorizer, Scope
from labelcast_server.registry.publishing import Publisher

# For the schema alone: `Authorizer` reads the header itself, and decides for gRPC too.
_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="Admin or read token.")


class Requires:
    """Dependency that refuses a request without the right token, before its body is read.

    Args:
        scope: what the route does.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(
        self,
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> None:
        """Check one request."""
        authorizer = cast("Authorizer", request.app.state.authorizer)
        # Reading labels may be open to everyone; the admin API never is.
        authorizer.require(request.headers.get("authorization") or "", self.scope)


def router_for(scope: Scope, tag: str) -> APIRouter:
    """A router under /v1, none of whose routes can do without the scope."""
    return APIRouter(prefix="/v1", tags=[tag], dependencies=[Depends(Requires(scope))])


def _publisher(request: Request) -> Publisher:
    return cast("Publisher", request.app.state.publisher)


PublisherDep = Annotated[Publisher, Depends(_publisher)]
