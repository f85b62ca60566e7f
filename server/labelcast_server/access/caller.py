"""`Caller`: who made a request, and whether the request was authorised."""

from labelcast.errors import PermissionDeniedError
from labelcast_server.access.authorize import Action, Resource, authorize
from labelcast_server.access.principal import Principal


class Caller:
    """The principal of one request; the request is answered only once it is authorised.

    Args:
        principal: who is asking.
    """

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self._authorized = False

    def require(self, action: Action, resource: Resource) -> None:
        """Return if the caller may do this; see `authorize`.

        Raises:
            UnauthenticatedError, PermissionDeniedError: the caller may not.
        """
        authorize(self.principal, action, resource)
        self._authorized = True

    def check(self) -> None:
        """Refuse to answer a request that was never authorised.

        Raises:
            PermissionDeniedError: `require` was not called, or it refused.
        """
        if not self._authorized:
            raise PermissionDeniedError("nothing says who may do this, so nobody may")
