"""Asking a running service for its health."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from labelcast.network.endpoint import check_address
from labelcast.network.grpc_channel import open_channel
from labelcast.network.tls import Tls
from labelcast.network.tls_failures import tls_error
from labelcast_server.access.certificates import Certificates

# Name under which a service reports whether it can deliver codes, which need no decoder.
CODES_SERVICE_NAME = "labelcast.codes"
_CHECK = "/grpc.health.v1.Health/Check"


def decoder_service_name(number: int) -> str:
    """Name under which a service reports whether one of its decoders decodes labels."""
    return f"labelcast.decoder-{number}"


def own_tls(certificates: Certificates) -> Tls:
    """How a service on this machine is asked that shows these certificates.

    It must show that very certificate, and gets it in return if it asks clients for one.

    Raises:
        InvalidRequestError: the certificates are of no use.
    """
    names = certificates.load().names
    return Tls(
        certificates.certificate,
        certificates.certificate,
        certificates.key,
        server_name=names[0] if names else None,
    )


def is_serving(
    address: str, *, timeout_seconds: float, name: str = "", tls: Tls | None = None
) -> bool | None:
    """Whether the service at host:port says SERVING; None if it says nothing in time.

    Args:
        address: host:port.
        timeout_seconds: time limit for the answer.
        name: name to ask for; empty for everything, `CODES_SERVICE_NAME` for codes alone.
        tls: how the service is checked; None asks in plain text.

    Raises:
        InvalidRequestError: not an address, or the files of `tls` are of no use.
        TlsError: the service's certificate is not accepted, or only one side speaks TLS.
    """
    check_address(address)
    with open_channel(address, tls) as channel:
        return _is_serving(channel, address, timeout_seconds, name)


def serving_decoders(address: str, *, timeout_seconds: float, tls: Tls | None = None) -> list[bool]:
    """Whether each decoder of the service at host:port decodes labels; empty if it does not answer.

    Args:
        address: host:port.
        timeout_seconds: time limit for each answer.
        tls: as for `is_serving`.

    Raises:
        As `is_serving`.
    """
    check_address(address)
    found = list[bool]()
    with open_channel(address, tls) as channel:
        while True:
            name = decoder_service_name(len(found))
            serving = _is_serving(channel, address, timeout_seconds, name)
            if serving is None:
                return found
            found.append(serving)


def _is_serving(
    channel: grpc.Channel, address: str, timeout_seconds: float, name: str
) -> bool | None:
    """What the service says of a name; None if it says nothing."""
    check = channel.unary_unary(
        _CHECK,
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    try:
        reply: Any = check(health_pb2.HealthCheckRequest(service=name), timeout=timeout_seconds)
    except grpc.RpcError as error:
        refused = tls_error(str(error), address)
        if refused is not None:
            raise refused from None
        return None
    # None: the call ended well without a reply.
    return reply is not None and reply.status == health_pb2.HealthCheckResponse.SERVING
