"""A gRPC channel that takes the proxy and the TLS that are meant."""

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from labelcast.network.places import Place
from labelcast.network.proxies import grpc_options
from labelcast.network.tls import Tls


def open_channel(
    at: str | Place,
    tls: Tls | None,
    options: Sequence[tuple[str, Any]] = (),
    *,
    asynchronous: bool = False,
) -> Any:
    """A channel, which connects when it is first used.

    Args:
        at: a gRPC target that `check_address` takes, or where one server of a name is.
        tls: how the service is checked; None for plain text.
        options: further ones of the channel.
        asynchronous: whether to use grpc.aio.

    Raises:
        InvalidRequestError: the files of `tls` are of no use.
    """
    package = grpc.aio if asynchronous else grpc
    place = Place(at, at) if isinstance(at, str) else at
    every = [*options, *grpc_options(place.address)]
    if not place.is_as_given:
        # The certificate is for the name, and so is the request.
        every.append(("grpc.default_authority", place.address))
    if tls is None:
        return package.insecure_channel(place.target, options=every)
    if tls.server_name is not None:
        every.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(*tls.pems())
    return package.secure_channel(place.target, credentials, options=every)
