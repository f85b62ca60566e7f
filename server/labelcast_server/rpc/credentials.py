"""Certificates as gRPC takes them: asked for at every handshake, on a thread of gRPC's."""

import grpc

from labelcast_server.access.certificates import Certificates, FreshCertificates, Loaded

_END = b"-----END CERTIFICATE-----"


def server_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Credentials of a port that shows these certificates, and always the newest of them.

    Raises:
        InvalidRequestError: they are of no use.
    """
    fresh = FreshCertificates(certificates)
    shown = fresh.current()

    def newer() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        current = fresh.current()
        # gRPC parses what it is given for every connection, and keeps what it has on None.
        if current is shown:
            return None
        shown = current
        return _configuration(current)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(shown),
        newer,  # type: ignore[arg-type]  # its stub knows no None
        require_client_authentication=certificates.client_ca is not None,
    )


def _configuration(loaded: Loaded) -> grpc.ServerCertificateConfiguration:
    accepted = loaded.client_authorities
    if accepted is not None:
        # Who holds the service's own key may ask for its health. The certificate alone: one of its
        # intermediates would let in everybody that its authority ever issued one to.
        own, end, _ = loaded.chain.partition(_END)
        accepted += b"\n" + own + end + b"\n"
    return grpc.ssl_server_certificate_configuration(
        [(loaded.key, loaded.chain)], root_certificates=accepted
    )
