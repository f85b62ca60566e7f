"""Who may ask."""

from enum import StrEnum


class Principal(StrEnum):
    """On whose behalf a request is made, as far as its token tells."""

    ADMIN = "admin"
    READER = "reader"
    # Without a token, where the service lets everyone read who reaches it.
    ANYONE = "anyone"
