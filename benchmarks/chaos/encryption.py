"""Certificates of a service and its students, and their renewal while everything runs."""

import asyncio
import socket
import ssl
from pathlib import Path

from labelcast_glyphs.certificates import Authority, options_of

_HANDSHAKES = 6


class Encryption:
    """Mutual TLS with authorities of our own.

    Args:
        directory: where the files go; must exist.
    """

    def __init__(self, directory: Path) -> None:
        self._authority = Authority(directory, "authority")
        clients = Authority(directory, "clients")
        self._shown = self._authority.issue("service")
        self.options = options_of(self._shown, clients)
        """Options of `labelcast-server serve`."""
        self.tls = self._authority.trusted(clients.issue("student", "student.example.org"))
        """What students and admins trust and show."""

    async def renew(self, seconds: float) -> None:
        """Put a new pair into the place of the one before, file by file.

        Args:
            seconds: time in which certificate and key do not belong together.
        """
        made = await asyncio.to_thread(self._authority.issue, "next")
        made.certificate.replace(self._shown.certificate)
        try:
            await asyncio.sleep(seconds)
        finally:
            made.key.replace(self._shown.key)

    def is_served_at(self, *ports: int) -> bool:
        """Whether every new connection to these ports gets the newest certificate. Blocks."""
        context = self.tls.context()
        newest = self._shown.certificate.read_text()
        return all(
            _certificate_at(port, context) in newest for port in ports for _ in range(_HANDSHAKES)
        )


def _certificate_at(port: int, context: ssl.SSLContext) -> str:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname="127.0.0.1") as encrypted,
    ):
        shown = encrypted.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown)
