"""A TLS context whose handshakes show the newest certificate."""

import ssl

from labelcast_server.access.certificates import Certificates, FreshCertificates


def server_context(certificates: Certificates) -> ssl.SSLContext:
    """Context for a listener that lives longer than a certificate.

    A context that is in use can be given another certificate, but never be told to forget an
    authority of clients. So every handshake moves to the context of the files as they are then.

    Raises:
        InvalidRequestError: the certificates are of no use.
    """
    fresh = FreshCertificates(certificates)

    def move(handshake: ssl.SSLObject, _name: str | None, _from: ssl.SSLContext) -> None:
        handshake.context = fresh.current().context

    # `verify_mode` belongs to the handshake and comes from the first context, authorities and
    # certificate from the one that it moves to.
    first = certificates.load().context
    first.sni_callback = move
    # A resumed session is not asked for its certificate again, whatever its authority is by then.
    # Only of TLS 1.3 can the ssl module forbid it.
    first.minimum_version = ssl.TLSVersion.TLSv1_3
    first.num_tickets = 0
    return first
