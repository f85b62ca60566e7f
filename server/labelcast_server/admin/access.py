"""What routes depend on: a caller who may, and the part of the registry that they use."""

from typing import Annotated, Any, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from labelcast_server.access.authorize import Action, Kind, Resource
from labelcast_server.access.caller import Caller
from labelcast_server.access.principal import Principal
from labelcast_server.access.tokens import Tokens
from labelcast_server.registry.admission import Admission
from labelcast_server.registry.inspection import Inspection
from labelcast_server.registry.publishing import Publisher
from labelcast_server.registry.services import RegistryServices
from labelcast_server.registry.uploads import Uploads

# Only for the schema: `Tokens` reads the header itself, for REST and gRPC.
_BEARER = HTTPBearer(auto_error=False, scheme_name="token", description="Admin or read token.")


class Requires:
    """Dependency that refuses an unauthorised request before its body is read.

    Args:
        action: what the route does.
        kind: kind of resource that it acts on.
        named: path parameter that names the resource; None for all of its kind.
    """

    def __init__(self, action: Action, kind: Kind, named: str | None) -> None:
        self.action = action
        self.kind = kind
        self.named = named

    async def __call__(
        self,
        request: Request,
        _: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> None:
        """Check one request."""
        tokens = cast("Tokens", request.app.state.tokens)
        caller = Caller(tokens.identify(request.headers.get("authorization")))
        name = None if self.named is None else request.path_params[self.named]
        caller.require(self.action, Resource(self.kind, name))
        request.state.caller = caller


def requires(action: Action, kind: Kind, named: str | None = None) -> list[Any]:
    """`dependencies` of a route; see `Requires`."""
    return [Depends(Requires(action, kind, named))]


def _services(request: Request) -> RegistryServices:
    caller: Caller = getattr(request.state, "caller", Caller(Principal.ANYONE))
    caller.check()
    return cast("RegistryServices", request.app.state.services)


_Services = Annotated[RegistryServices, Depends(_services)]


def _admission(services: _Services) -> Admission:
    return services.admission


def _uploads(services: _Services) -> Uploads:
    return services.uploads


def _publisher(services: _Services) -> Publisher:
    return services.publisher


def _inspection(services: _Services) -> Inspection:
    return services.inspection


AdmissionDep = Annotated[Admission, Depends(_admission)]
UploadsDep = Annotated[Uploads, Depends(_uploads)]
PublisherDep = Annotated[Publisher, Depends(_publisher)]
InspectionDep = Annotated[Inspection, Depends(_inspection)]
