"""`Caller`: who made one request, and whether anybody has decided that they may."""

from labelcast.errors import PermissionDeniedError
from labelcast_server.access.authorize import Action, Resource, authorize
from labelcast_server.access.principal import Principal


class Caller:
    """The principal of one request, which is answered only after it was authorised.

    Args:
        principal: who asks.
    """

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self._authorized = False

    def require(self, action: Action, resource: Resource) -> None:
        """Return if the caller may; as `authorize`.

        Raises:
            UnauthenticatedError, PermissionDeniedError: the caller may not.
        """
        authorize(self.principal, action, resource)
        self._authorized = True

    def check(self) -> None:
        """Refuse to answer a request of which nobody has asked whether it is allowed.

        Raises:
            PermissionDeniedError: `require` was not called, or refused.
        """
        if not self._authorized:
            raise PermissionDeniedError("nothing says who may do this, so nobody may")
