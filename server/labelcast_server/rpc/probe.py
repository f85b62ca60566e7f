"""Asking a running service for its health."""

import grpc
from grpc_health.v1 import health_pb2

from labelcast.network.endpoint import check_address
from labelcast.network.proxies import grpc_options

# Name under which a service reports whether it can deliver codes, which need no decoder.
CODES_SERVICE_NAME = "labelcast.codes"


def is_serving(address: str, *, timeout_seconds: float, name: str = "") -> bool:
    """Whether the service at host:port says SERVING in time.

    Args:
        address: host:port.
        timeout_seconds: time limit for the answer.
        name: name to ask for; empty for everything, `CODES_SERVICE_NAME` for codes alone.

    Raises:
        InvalidRequestError: not an address.
    """
    check_address(address)
    with grpc.insecure_channel(address, options=grpc_options(address)) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            reply = check(health_pb2.HealthCheckRequest(service=name), timeout=timeout_seconds)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
