"""Exception → gRPC status and HTTP status, as plain names and numbers: imports neither library."""

import logging
import secrets
from dataclasses import dataclass

from labelcast import errors
from labelcast.errors import InternalServiceError, LabelcastError

logger = logging.getLogger("labelcast_server")


@dataclass(frozen=True, slots=True)
class Status:
    """How an error looks from outside.

    Attributes:
        grpc: name of a gRPC status code.
        http: HTTP status.
    """

    grpc: str
    http: int


# The nearest base class listed here counts; a test checks that every family has one.
CATALOG: dict[type[LabelcastError], Status] = {
    errors.RequestError: Status("INVALID_ARGUMENT", 400),
    errors.NotFoundError: Status("NOT_FOUND", 404),
    errors.StateError: Status("FAILED_PRECONDITION", 409),
    errors.LabelSetRetiredError: Status("FAILED_PRECONDITION", 410),
    errors.UploadOffsetError: Status("OUT_OF_RANGE", 416),
    errors.DataError: Status("INVALID_ARGUMENT", 422),
    errors.ChecksumMismatchError: Status("DATA_LOSS", 500),
    errors.AuthorizationError: Status("PERMISSION_DENIED", 403),
    errors.UnauthenticatedError: Status("UNAUTHENTICATED", 401),
    errors.StorageError: Status("UNAVAILABLE", 503),
    errors.StoreFullError: Status("RESOURCE_EXHAUSTED", 507),
    errors.StoreUnsafeError: Status("FAILED_PRECONDITION", 409),
    errors.NetworkError: Status("UNAVAILABLE", 503),
    errors.OverloadedError: Status("RESOURCE_EXHAUSTED", 503),
    errors.InternalServiceError: Status("INTERNAL", 500),
}


def status_of(error: LabelcastError) -> Status:
    """Statuses of an error, by its nearest base in the catalogue."""
    for base in type(error).__mro__:
        if base in CATALOG:
            return CATALOG[base]
    return CATALOG[InternalServiceError]


def publicise(error: Exception) -> LabelcastError:
    """Return what callers may see of an exception.

    Our own errors pass unchanged. Anything else is logged with an ID and its text stays here: it
    may hold addresses or secrets.
    """
    if isinstance(error, LabelcastError):
        return error
    error_id = secrets.token_hex(6)
    logger.error("internal error %s", error_id, exc_info=error)
    return InternalServiceError(
        f"internal error {error_id}; the service's log has the cause", error_id=error_id
    )
