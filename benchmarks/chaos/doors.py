"""How a service is reached: directly, or through links."""

from dataclasses import asdict, dataclass
from typing import Any

from labelcast import LabelClient, Tls
from labelcast.registry.client import Registry


@dataclass(frozen=True)
class Doors:
    """Addresses of a service, and what it takes to be let in.

    Attributes:
        grpc: host:port for students.
        admin_port: port of the admin API.
        token: admin token.
        tls: how it is checked, and what it is shown; None for plain text.
    """

    grpc: str
    admin_port: int
    token: str
    tls: Tls | None

    def client(self, **options: Any) -> LabelClient:
        """A client of its labels."""
        return LabelClient(self.grpc, tls=self.tls or False, **options)

    def registry(self, *, timeout_seconds: float) -> Registry:
        """A client of its admin API."""
        scheme = "http" if self.tls is None else "https"
        url = f"{scheme}://127.0.0.1:{self.admin_port}"
        return Registry(url, self.token, timeout_seconds=timeout_seconds, tls=self.tls)


def tls_as_json(tls: Tls | None) -> dict[str, str | None] | None:
    """Files of TLS, for a process that takes its configuration as JSON."""
    if tls is None:
        return None
    return {name: None if value is None else str(value) for name, value in asdict(tls).items()}
