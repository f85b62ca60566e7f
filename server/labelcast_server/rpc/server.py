"""The gRPC listener of one I/O worker: labels, health, reflection."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from labelcast.errors import BusyError, LabelcastError
from labelcast.network.keepalive import SERVICE_OPTIONS
from labelcast.v2 import labels_pb2, labels_pb2_grpc
from labelcast_server.access.certificates import Certificates
from labelcast_server.access.tokens import Tokens
from labelcast_server.background import end
from labelcast_server.delivery.service import LabelService
from labelcast_server.rpc.credentials import server_credentials
from labelcast_server.rpc.malformed import MalformedRequests
from labelcast_server.rpc.probe import CODES_SERVICE_NAME, decoder_service_name
from labelcast_server.rpc.ready_replies import ReadyReplies
from labelcast_server.rpc.servicer import LabelServicer

logger = logging.getLogger("labelcast_server.rpc")

SERVICE_NAME = labels_pb2.DESCRIPTOR.services_by_name["LabelService"].full_name
_HEALTH_INTERVAL_SECONDS = 2.0
# A store or decoder that takes longer to answer a ping is of no use to a student.
_PING_SECONDS = 5.0

_OPTIONS = (
    # The largest possible request: a million views, each with its own ID and seed.
    ("grpc.max_receive_message_length", 16 * 2**20),
    ("grpc.max_send_message_length", 64 * 2**20),
    # Workers share the port on purpose; the supervisor has made sure that nobody else has it.
    ("grpc.so_reuseport", 1),
    *SERVICE_OPTIONS,
    # Clients that connect and stay silent, or have no open call, must not keep a connection
    # forever. A client opens another with its next call.
    ("grpc.server_handshake_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 300_000),
)


class _ClientsThatLeft(logging.Filter):
    """Drops the traceback that gRPC logs when a client vanishes during a reply."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("ExecuteBatchError raised in core")


_CLIENTS_THAT_LEFT = _ClientsThatLeft()


class RpcServer:
    """Serves until told to drain.

    Args:
        service: the use cases.
        tokens: identify the caller.
        max_streams: label streams that may be open at once.
    """

    def __init__(self, service: LabelService, tokens: Tokens, *, max_streams: int) -> None:
        logging.getLogger("grpc._cython.cygrpc").addFilter(_CLIENTS_THAT_LEFT)
        self._service = service
        self._health = health.aio.HealthServicer()
        self._unwell: set[str] = set()
        self._server = grpc.aio.server(
            options=_OPTIONS,
            interceptors=[MalformedRequests(SERVICE_NAME), ReadyReplies(SERVICE_NAME)],
        )
        labels_pb2_grpc.add_LabelServiceServicer_to_server(
            LabelServicer(service, tokens, max_streams=max_streams), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str, certificates: Certificates | None = None) -> None:
        """Start to listen.

        Args:
            address: host:port.
            certificates: what the port shows; None listens in plain text.

        Raises:
            BusyError: the address cannot be bound.
            InvalidRequestError: the certificates are of no use.
        """
        credentials = None if certificates is None else server_credentials(certificates)
        try:
            if credentials is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise BusyError(f"cannot listen on {address}; choose another port") from None
        await self._server.start()
        await self._report_health()

    async def serve_until(self, stop: asyncio.Event, *, drain_seconds: float) -> None:
        """Serve, watch the health of store and decoders, and drain when `stop` is set.

        While draining, health reports NOT_SERVING so that load balancers look elsewhere, new calls
        are refused, and running streams have `drain_seconds` to end.
        """
        reporting = asyncio.create_task(self._keep_reporting_health())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({reporting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if reporting.done():
            reporting.result()
        await end(reporting, stopping)
        await self._health.enter_graceful_shutdown()
        await self._server.stop(drain_seconds)

    async def _keep_reporting_health(self) -> None:
        while True:
            await self._report_health()
            await asyncio.sleep(_HEALTH_INTERVAL_SECONDS)

    async def _report_health(self) -> None:
        # At the same time, so that one that hangs does not delay the report on the others.
        pings = self._service.decoder_pings
        store, *decoders = await asyncio.gather(
            self._answers("store", self._service.ping_store),
            *(self._answers(name, ping) for name, ping in pings.items()),
        )
        states = health_pb2.HealthCheckResponse
        for name, serving in (
            # What one decoder fails to answer, another does.
            ("", store and any(decoders)),
            (SERVICE_NAME, store and any(decoders)),
            (CODES_SERVICE_NAME, store),
            *((decoder_service_name(n), serving) for n, serving in enumerate(decoders)),
        ):
            status = states.SERVING if serving else states.NOT_SERVING
            await self._health.set(name, status)

    async def _answers(self, what: str, ping: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await ping()
        except TimeoutError:
            wrong = f"no answer within {_PING_SECONDS:g} s"
        except LabelcastError as error:
            wrong = str(error)
        else:
            self._unwell.discard(what)
            return True
        if what not in self._unwell:
            logger.warning("the %s cannot serve: %s", what, wrong)
            self._unwell.add(what)
        return False
