"""Checks of the certificate that the service shows, and of the authorities beside it."""

import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labelcast.errors import InvalidRequestError
from labelcast.network.pem import load_authorities
from labelcast.network.proxies import is_loopback, is_this_machine
from labelcast_server.access.certificates import Certificates, Loaded
from labelcast_server.doctor.finding import Finding

_SOON_DAYS = 14
_DAY_SECONDS = 86_400
_RENEW = (
    "renew it, and rename the new files into the place of the old; a service that runs reads them"
    " without a restart"
)


def check_certificates(certificates: Certificates | None, address: str) -> list[Finding]:
    """Check that clients will accept the certificate, today and in two weeks.

    Args:
        certificates: files that the service shows; None for plain text.
        address: host by which clients reach the service; 0.0.0.0 or :: if that is unknown.
    """
    if certificates is None:
        return [Finding("certificate", "ok", "there is none: the service speaks plain text")]
    try:
        loaded = certificates.load()
        authorities = list(_check_authorities(certificates, loaded))
    except InvalidRequestError as error:
        return [Finding("certificate", "error", error.message, "do what the message says")]
    own = _check_time(certificates, loaded), _check_names(certificates, loaded, address)
    return [*own, *authorities]


def _check_time(certificates: Certificates, loaded: Loaded) -> Finding:
    until = loaded.day(loaded.not_after)
    days = (loaded.not_after - time.time()) / _DAY_SECONDS
    if days < _SOON_DAYS:
        message = f"the certificate {certificates.certificate} expires in {days:.0f} days, {until}"
        return Finding("certificate", "warning", message, _RENEW)
    return Finding("certificate", "ok", f"{certificates.certificate} is valid until {until}")


def _check_names(certificates: Certificates, loaded: Loaded, address: str) -> Finding:
    names = ", ".join(loaded.names) or "no name"
    issued = f"the certificate is for {names}"
    anywhere = is_this_machine(address) and not is_loopback(address)
    if loaded.names and (anywhere or certificates.cover(address)):
        return Finding("certificate-names", "ok", issued)
    return Finding(
        "certificate-names",
        "warning",
        f"{issued}: clients that connect to {'this machine' if anywhere else address} refuse it",
        "have one issued whose subjectAltName holds the name that clients use, or have them name"
        " one of the certificate's with --tls-server-name",
    )


def _check_authorities(certificates: Certificates, loaded: Loaded) -> Iterator[Finding]:
    """Intermediates, and whoever issues certificates to clients."""
    files = (certificates.certificate, certificates.client_ca)
    for path in (each for each in files if each is not None):
        for authority in _authorities_in(path):
            if authority["serialNumber"] != loaded.seen["serialNumber"]:
                yield _check_authority(path, authority)


def _check_authority(path: Path, authority: dict[str, Any]) -> Finding:
    name = _name_of(authority)
    begins, ends = (
        ssl.cert_time_to_seconds(authority[field]) for field in ("notBefore", "notAfter")
    )
    days = (ends - time.time()) / _DAY_SECONDS
    issuer = f"the authority {name} in {path}"
    if days < 0 or time.time() < begins:
        message = f"{issuer} is valid from {Loaded.day(begins)} to {Loaded.day(ends)}, not today"
        level: Any = "error"
    elif days < _SOON_DAYS:
        message, level = f"{issuer} expires in {days:.0f} days, {Loaded.day(ends)}", "warning"
    else:
        return Finding("authority", "ok", f"{issuer} is valid until {Loaded.day(ends)}")
    remedy = "put a newer certificate of it into the file, before or after the old one"
    return Finding("authority", level, message, remedy)


def _authorities_in(path: Path) -> list[dict[str, Any]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_authorities(context, path)
    return context.get_ca_certs()


def _name_of(authority: dict[str, Any]) -> str:
    fields = dict(pair for each in authority["subject"] for pair in each)
    names = ("commonName", "organizationalUnitName", "organizationName")
    return next((fields[name] for name in names if name in fields), "without a name")
