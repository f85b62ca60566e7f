"""The gRPC listener of one I/O worker: labels, health, reflection."""

import asyncio
import logging

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from labelcast.errors import BusyError, LabelcastError
from labelcast.v2 import labels_pb2, labels_pb2_grpc
from labelcast_server.authorization import Authorizer
from labelcast_server.rpc.malformed import MalformedRequests
from labelcast_server.rpc.servicer import LabelServicer
from labelcast_server.service import LabelService

logger = logging.getLogger("labelcast_server.rpc")

SERVICE_NAME = labels_pb2.DESCRIPTOR.services_by_name["LabelService"].full_name
_HEALTH_INTERVAL_SECONDS = 2.0

_OPTIONS = (
    # The largest request there can be: a million views, each with an ID and a seed of their own.
    ("grpc.max_receive_message_length", 16 * 2**20),
    ("grpc.max_send_message_length", 64 * 2**20),
    # Workers share the port on purpose; the supervisor has made sure that nobody else has it.
    ("grpc.so_reuseport", 1),
    # Students behind NAT keep an idle stream alive between epochs, by a ping every 20 seconds.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # Who connects and says nothing, who has gone without a word, who has no call: none may keep a
    # connection for ever. A client opens another with its next call.
    ("grpc.server_handshake_timeout_ms", 20_000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 300_000),
)


class _ClientsThatLeft(logging.Filter):
    """Drops the traceback that gRPC logs when a client vanishes in the middle of a reply."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("ExecuteBatchError raised in core")


_CLIENTS_THAT_LEFT = _ClientsThatLeft()


class RpcServer:
    """Serves until told to drain.

    Args:
        service: the use cases.
        authorizer: shared with REST.
        max_streams: label streams at once.
    """

    def __init__(self, service: LabelService, authorizer: Authorizer, *, max_streams: int) -> None:
        logging.getLogger("grpc._cython.cygrpc").addFilter(_CLIENTS_THAT_LEFT)
        self._service = service
        self._health = health.aio.HealthServicer()
        self._serving = True
        self._server = grpc.aio.server(
            options=_OPTIONS, interceptors=[MalformedRequests(SERVICE_NAME)]
        )
        labels_pb2_grpc.add_LabelServiceServicer_to_server(
            LabelServicer(service, authorizer, max_streams=max_streams), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str) -> None:
        """Listen.

        Raises:
            BusyError: the address cannot be bound.
        """
        try:
            self._server.add_insecure_port(address)
        except RuntimeError:
            raise BusyError(f"cannot listen on {address}; choose another port") from None
        await self._server.start()
        await self._report_health()

    async def serve_until(self, stop: asyncio.Event, *, drain_seconds: float) -> None:
        """Serve, watch the store's health, and drain when `stop` is set.

        Draining: health says NOT_SERVING so that balancers look elsewhere, no new call is taken,
        and running streams have `drain_seconds` to end.
        """
        while not stop.is_set():
            await self._report_health()
            try:
                await asyncio.wait_for(stop.wait(), _HEALTH_INTERVAL_SECONDS)
            except TimeoutError:
                continue
        await self._health.enter_graceful_shutdown()
        await self._server.stop(drain_seconds)

    async def _report_health(self) -> None:
        serving = True
        try:
            await self._service.ping()
        except LabelcastError as error:
            if self._serving:
                logger.warning("not serving: %s", error)
            serving = False
        self._serving = serving
        states = health_pb2.HealthCheckResponse
        status = states.SERVING if serving else states.NOT_SERVING
        for name in ("", SERVICE_NAME):
            await self._health.set(name, status)
