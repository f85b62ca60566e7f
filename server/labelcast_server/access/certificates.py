"""The certificate that a service shows, read again whenever its files change.

A renewal writes two files, and a handshake may come between them. So a pair counts only once it is
whole: read without a change in between, key and certificate belonging together, valid today. Until
then connections get the pair before it.
"""

import contextlib
import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelcast.errors import InvalidRequestError
from labelcast.network.pem import load_authorities, load_pair, read_certificates, read_key

if TYPE_CHECKING:
    # Workers load certificates, and must not import what reads settings.
    from labelcast_server.settings import ServerSettings

logger = logging.getLogger("labelcast_server.access")

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the ssl module has no name for.
_NO_CHECK_TIME = 0x200000
_READS = 5
_PAUSE_SECONDS = 0.02

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of a certificate; sent by pickle to every process that listens.

    Attributes:
        certificate: PEM file of the certificate, followed by its intermediates.
        key: PEM file of its private key.
        client_ca: PEM file of the authorities that issue certificates to clients; None asks clients
            for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, settings: "ServerSettings") -> "Certificates | None":
        """What the settings name; None for plain text."""
        if settings.tls_certificate is None or settings.tls_key is None:
            return None
        return cls(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)

    def stamp(self) -> Stamp | None:
        """Changes when a file does, or what a symbolic link points to; None if one is missing."""
        files = (self.certificate, self.key, self.client_ca)
        try:
            found = [path.stat() for path in files if path is not None]
        except OSError:
            return None
        return tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in found)

    def load(self) -> "Loaded":
        """Read and check the files.

        Raises:
            InvalidRequestError: one cannot be read, they do not belong together, or the
                certificate is not valid today; says which, and what to do.
        """
        for _ in range(_READS):
            before = self.stamp()
            loaded = self._load()
            if before is not None and before == self.stamp():
                return loaded
            time.sleep(_PAUSE_SECONDS)
        raise InvalidRequestError(
            f"{self.certificate} and {self.key} change while they are read; write them elsewhere"
            " and rename them"
        )

    def cover(self, host: str) -> bool:
        """Whether clients that look for a host take the certificate for the host's.

        Args:
            host: name or address, without brackets.

        Raises:
            InvalidRequestError: a file cannot be read, or they do not belong together.
        """
        try:
            _shown_to_client(self.certificate, self.key, host)
        except (ssl.SSLCertVerificationError, ValueError):
            return False
        return True

    def _load(self) -> "Loaded":
        chain, key = read_certificates(self.certificate), read_key(self.key)
        authorities = None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        load_pair(context, self.certificate, self.key)
        if self.client_ca is not None:
            load_authorities(context, self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
            authorities = read_certificates(self.client_ca)
        loaded = Loaded(chain, key, authorities, context, _as_seen(self.certificate, self.key))
        if not loaded.not_before <= time.time() <= loaded.not_after:
            raise InvalidRequestError(
                f"the certificate {self.certificate} is valid from {loaded.day(loaded.not_before)}"
                f" to {loaded.day(loaded.not_after)}, not today; renew it, or set this machine's"
                " clock"
            )
        return loaded


@dataclass(frozen=True, slots=True)
class Loaded:
    """A certificate that has been checked.

    Attributes:
        chain: PEM of the certificate and its intermediates.
        key: PEM of the private key.
        client_authorities: PEM of the authorities of clients; None asks clients for nothing.
        context: context of a server that shows it.
        seen: the certificate as `ssl.SSLSocket.getpeercert` gives it.
    """

    chain: bytes
    key: bytes
    client_authorities: bytes | None
    context: ssl.SSLContext
    seen: dict[str, object]

    @property
    def not_before(self) -> float:
        """First moment at which it is valid, in seconds since 1970."""
        return ssl.cert_time_to_seconds(str(self.seen["notBefore"]))

    @property
    def not_after(self) -> float:
        """Last moment at which it is valid, in seconds since 1970."""
        return ssl.cert_time_to_seconds(str(self.seen["notAfter"]))

    @property
    def names(self) -> tuple[str, ...]:
        """Hosts and addresses that it is for; a wildcard stands for one of its names."""
        found: Any = self.seen.get("subjectAltName", ())
        return tuple(name.replace("*", "any", 1) for _, name in found)

    @staticmethod
    def day(moment: float) -> str:
        """A moment's day in UTC, for messages."""
        return time.strftime("%Y-%m-%d", time.gmtime(moment))


class FreshCertificates:
    """What to show to the next connection.

    Args:
        certificates: files to watch.

    Raises:
        InvalidRequestError: they are of no use.
    """

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._looked_at = certificates.stamp()
        self._loaded = certificates.load()

    def current(self) -> Loaded:
        """The newest usable certificate; looks at the files, and reads them if they changed.

        May be called from any thread: two that read at once read the same.
        """
        stamp = self._certificates.stamp()
        if stamp == self._looked_at:
            return self._loaded
        self._looked_at = stamp
        try:
            self._loaded = self._certificates.load()
        except InvalidRequestError as error:
            logger.warning("new connections still get the certificate from before: %s", error)
        else:
            last = self._loaded.day(self._loaded.not_after)
            logger.info("new connections get a new certificate, valid to %s", last)
        return self._loaded


def _as_seen(certificate: Path, key: Path) -> dict[str, object]:
    try:
        return _shown_to_client(certificate, key)
    except ssl.SSLError as error:
        raise InvalidRequestError(
            f"the certificate {certificate} cannot identify a server ({error.reason}); have one"
            " made for server authentication"
        ) from None


def _shown_to_client(certificate: Path, key: Path, host: str | None = None) -> dict[str, object]:
    """The certificate in fields, by a handshake with ourselves: ssl shows only a peer's.

    Raises:
        SSLCertVerificationError: it is not for that host, or cannot identify a server.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_pair(server, certificate, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = host is not None
    # gRPC looks at subjectAltName alone.
    client.hostname_checks_common_name = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VerifyFlags(_NO_CHECK_TIME)
    load_authorities(client, certificate)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(to_client, to_server, server_hostname=host)
    far = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (near, far, near, far):
        _go_on(side)
    return dict(near.getpeercert() or {})


def _go_on(side: ssl.SSLObject) -> None:
    with contextlib.suppress(ssl.SSLWantReadError):
        side.do_handshake()
