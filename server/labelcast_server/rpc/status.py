"""How a failed call ends: with a status that the client turns back into the same exception."""

from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from labelcast.errors import LabelcastError
from labelcast_server.error_catalog import status_of

ERROR_DOMAIN = "labelcast"

Context = grpc.aio.ServicerContext[Any, Any]


async def abort(context: Context, error: LabelcastError) -> NoReturn:
    """End a call with a status that carries reason and facts as google.rpc.ErrorInfo."""
    code = grpc.StatusCode[status_of(error).grpc]
    info = error_details_pb2.ErrorInfo(
        reason=error.reason, domain=ERROR_DOMAIN, metadata=error.facts
    )
    detail = any_pb2.Any()
    detail.Pack(info)
    status = status_pb2.Status(code=code.value[0], message=error.message, details=[detail])
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(code, error.message, trailers)
