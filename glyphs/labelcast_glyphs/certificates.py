"""Authorities and certificates made up for tests, benchmarks and the demo, as PEM files."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from labelcast import Tls


@dataclass(frozen=True)
class Pair:
    """Files of a certificate, with its intermediates, and of its key."""

    certificate: Path
    key: Path


class Authority:
    """A made-up authority.

    Args:
        directory: where its files go.
        name: of its files.
    """

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._issuer = trustme.CA()
        self._directory = directory
        self.name = name
        self.file = directory / f"{name}.pem"
        self._issuer.cert_pem.write_to_path(self.file)

    def issue(self, name: str, *hosts: str, days: float = 90) -> Pair:
        """A pair for some hosts, 127.0.0.1 and localhost if none are given.

        Args:
            name: of the files; a pair of that name is written over.
            hosts: names and addresses.
            days: days that it is still valid for; negative if it has ended.
        """
        made = self._issuer.issue_cert(
            *(hosts or ("127.0.0.1", "localhost")),
            not_before=datetime.now(UTC) - timedelta(days=400),
            not_after=datetime.now(UTC) + timedelta(days=days),
        )
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(pair.key)
        return pair

    def trusted(self, pair: Pair | None = None, *, server_name: str | None = None) -> Tls:
        """A client that trusts this authority alone, and may have a pair to show."""
        if pair is None:
            return Tls(self.file, server_name=server_name)
        return Tls(self.file, pair.certificate, pair.key, server_name)


def options_of(pair: Pair, clients: Authority | None = None) -> tuple[str, ...]:
    """Options of `labelcast-server serve`.

    Args:
        pair: what the service shows.
        clients: authority of its clients, for mutual TLS.
    """
    shown = ("--tls-certificate", str(pair.certificate), "--tls-key", str(pair.key))
    return shown if clients is None else (*shown, "--tls-client-ca", str(clients.file))
