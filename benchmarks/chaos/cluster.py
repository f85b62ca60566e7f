"""Everything that runs, with a link between every pair of processes.

students ─ lanes ─→ gRPC port      workers, admin ─ redis link ─→ redis-server
registry ─ admin link ─→ admin     workers ─ decoder link ─→ decoder
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.chaos.decoder_seam import DecoderSeam
from benchmarks.chaos.grpc_proxy import GrpcConnection
from benchmarks.chaos.proxy import Link, to_port
from benchmarks.chaos.service import ChaosRedis, ChaosService

_LOOK_SECONDS = 0.2


class Cluster:
    """A service, its Redis and the links.

    Args:
        directory: for everything; its name must be short.
        lanes: links to the gRPC port, one for each student.
    """

    def __init__(self, directory: Path, lanes: int) -> None:
        self.redis = ChaosRedis(directory / "redis")
        self.redis_link = Link("redis", to_port(lambda: self.redis.port))
        self.lanes = [
            Link(f"lane {number}", to_port(lambda: self.service.grpc_port), GrpcConnection)
            for number in range(lanes)
        ]
        self.admin_link = Link("admin", to_port(lambda: self.service.admin_port))
        self._directory = directory
        self.service: ChaosService
        self.seam: DecoderSeam
        self.restarts = 0
        self._watching: asyncio.Task[None] | None = None

    @property
    def decoder_link(self) -> Link:
        """Between workers and decoder."""
        return self.seam.link

    async def start(self) -> None:
        """Start in order."""
        await asyncio.to_thread(self.redis.start)
        port = await self.redis_link.listen_tcp()
        options = ["--workers", "2", "--redis-url", f"redis://127.0.0.1:{port}/0"]
        self.service = ChaosService(self._directory, options)
        self.seam = DecoderSeam(self.service.sockets)
        self._watching = asyncio.create_task(self.seam.watch())
        await asyncio.to_thread(self.service.start)
        for link in (*self.lanes, self.admin_link):
            await link.listen_tcp()

    async def keep_running(self) -> None:
        """Start a service again that has ended, as an init system does, until cancelled."""
        while True:
            if not self.service.is_running():
                await asyncio.to_thread(self.service.end)
                await asyncio.to_thread(self.service.start)
                self.restarts += 1
            await asyncio.sleep(_LOOK_SECONDS)

    async def stop(self) -> None:
        """End everything, whatever has happened."""
        if hasattr(self, "service"):
            await asyncio.to_thread(self.service.stop)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            await self.decoder_link.close()
        for link in (*self.lanes, self.admin_link, self.redis_link):
            await link.close()
        await asyncio.to_thread(self.redis.kill)


@contextlib.asynccontextmanager
async def running_cluster(directory: Path, lanes: int) -> AsyncIterator[Cluster]:
    """A cluster that has started."""
    cluster = Cluster(directory, lanes)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
