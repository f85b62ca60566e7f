"""What a failed handshake means, in words that help.

gRPC (BoringSSL) and httpx (OpenSSL) say it in their own texts and give no codes for it.
"""

from collections.abc import Sequence

from labelcast.errors import TlsError

_EXPIRED = ("certificate has expired", "certificate is not yet valid")
_OTHER_HOST = (
    "Hostname Verification Check failed",
    "Hostname mismatch",
    "IP address mismatch",
)
_UNKNOWN_AUTHORITY = ("CERTIFICATE_VERIFY_FAILED",)
_PLAIN_TEXT = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
_CLIENT_UNPROVEN = (
    "CERTIFICATE_REQUIRED",
    "ALERT_UNKNOWN_CA",
    "ALERT_BAD_CERTIFICATE",
    "ALERT_CERTIFICATE_EXPIRED",
    "ALERT_CERTIFICATE_UNKNOWN",
    "ALERT_UNSUPPORTED_CERTIFICATE",
)

# The first that fits counts: every failed check is a CERTIFICATE_VERIFY_FAILED as well.
_MEANINGS: Sequence[tuple[Sequence[str], str]] = (
    (
        _EXPIRED,
        (
            "the certificate of {peer} is not valid today; have the service's certificate renewed"
            " (it reads its files again without a restart), or set this machine's clock"
        ),
    ),
    (
        _OTHER_HOST,
        (
            "the certificate of {peer} was issued for another name; use the name that it is for, or"
            " give that as Tls(server_name=…) or --tls-server-name"
        ),
    ),
    (
        _CLIENT_UNPROVEN,
        (
            "{peer} does not accept this client's certificate, or got none; give one of an"
            " authority that it trusts, as Tls(certificate=…, key=…) or --tls-certificate and"
            " --tls-key"
        ),
    ),
    (
        _UNKNOWN_AUTHORITY,
        (
            "the certificate of {peer} comes from an authority that is not trusted here; give that"
            " authority's certificate as Tls(ca=…) or --tls-ca"
        ),
    ),
    (
        _PLAIN_TEXT,
        (
            "{peer} does not speak TLS; leave out tls (https:// for the admin API) if it is on this"
            " machine, or start the service with --tls-certificate and --tls-key"
        ),
    ),
)


def tls_error(text: str, peer: str) -> TlsError | None:
    """The error that a library's text about a failed connection stands for; None for another.

    Args:
        text: what gRPC or OpenSSL said.
        peer: address of the service, for the message.
    """
    for signs, meaning in _MEANINGS:
        if any(sign in text for sign in signs):
            return TlsError(meaning.format(peer=peer))
    return None


def closed_early(*, encrypted: bool, proves_itself: bool) -> str:
    """The likeliest reason why a peer closed a connection before it said anything.

    A server that is not spoken to as it expects says nothing that both sides understand.

    Args:
        encrypted: whether this client spoke TLS.
        proves_itself: whether it has a certificate of its own.
    """
    if not encrypted:
        return "; if it expects TLS, use tls=True or tls=Tls(ca=…), --tls or --tls-ca"
    if proves_itself:
        return "; it may not accept this client's certificate: its authority, or its last day"
    return (
        "; if it asks clients for a certificate, give Tls(certificate=…, key=…), or"
        " --tls-certificate and --tls-key"
    )
