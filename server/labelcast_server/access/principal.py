"""Who may send requests."""

from enum import StrEnum


class Principal(StrEnum):
    """Whom a request comes from, as far as its token tells."""

    ADMIN = "admin"
    READER = "reader"
    # A request without a token, where the service lets everyone read.
    ANYONE = "anyone"
