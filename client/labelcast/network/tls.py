"""TLS as a client sees it: what a service must prove, and with what this client proves itself."""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from labelcast.errors import InvalidRequestError
from labelcast.network.pem import (
    PathText,
    load_authorities,
    load_pair,
    read_certificates,
    read_key,
)
from labelcast.network.proxies import is_this_machine

# Where distributions keep the authorities that they trust, if OpenSSL's own directory has no file:
# Debian and Alpine, Fedora, openSUSE, macOS.
_SYSTEM_ROOTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How to check a service, and how to prove who we are if it asks (mutual TLS).

    Holds names of files, not what is in them: it can be pickled, and each new channel reads the
    files as they are then.

    Attributes:
        ca: PEM file of the authorities that may have issued the service's certificate; None for
            those that the operating system trusts (or SSL_CERT_FILE names).
        certificate: PEM file of the client's certificate, followed by its intermediates.
        key: PEM file of the client's private key, not encrypted.
        server_name: name that the service's certificate must be for; None for the address's host.

    Raises:
        InvalidRequestError: a certificate without its key, or the other way round.
    """

    ca: PathText | None = None
    certificate: PathText | None = None
    key: PathText | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise InvalidRequestError(
                "a certificate and its key come together: give both, or neither"
            )

    @classmethod
    def of(cls, tls: "Tls | bool") -> "Tls | None":
        """What an argument `tls` means: True trusts the system's authorities, False is no TLS."""
        if isinstance(tls, bool):
            return cls() if tls else None
        return tls

    @property
    def authorities(self) -> PathText:
        """File of the authorities that count.

        Raises:
            InvalidRequestError: the system has no such file.
        """
        return _system_roots() if self.ca is None else self.ca

    def context(self) -> ssl.SSLContext:
        """A context that checks certificate and host name of the service.

        Raises:
            InvalidRequestError: a file cannot be read, or certificate and key do not match.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        load_authorities(context, self.authorities)
        if self.certificate is not None and self.key is not None:
            load_pair(context, self.certificate, self.key)
        return context

    def pems(self) -> tuple[bytes, bytes | None, bytes | None]:
        """Contents of the files as `grpc.ssl_channel_credentials` takes them.

        Returns:
            Authorities, private key, certificate chain.

        Raises:
            InvalidRequestError: a file cannot be read, or certificate and key do not match.
        """
        # Builds a context for its checks: gRPC would log what is wrong and say "Socket closed".
        self.context()
        return (
            read_certificates(self.authorities),
            None if self.key is None else read_key(self.key),
            None if self.certificate is None else read_certificates(self.certificate),
        )


def refuse_plaintext(host: str) -> None:
    """Refuse a host that only a network reaches, where others could read labels and token.

    Raises:
        InvalidRequestError: it is not this machine.
    """
    if not is_this_machine(host):
        raise InvalidRequestError(
            f"labels and token would go to {host} in plain text, for everyone on the way to read;"
            " use TLS (tls=True or tls=Tls(ca=…), --tls or --tls-ca; https:// for the admin API),"
            " or, in a network that you trust, allow_plaintext=True (--allow-plaintext)"
        )


def _system_roots() -> str:
    # Only a file serves both gRPC, which wants bytes, and OpenSSL.
    found = (ssl.get_default_verify_paths().cafile, *_SYSTEM_ROOTS)
    for path in found:
        if path and Path(path).is_file() and os.access(path, os.R_OK):
            return path
    raise InvalidRequestError(
        "this system keeps no file of trusted authorities; name the service's authority with"
        " Tls(ca=…) or --tls-ca, or a file of authorities with the variable SSL_CERT_FILE"
    )
