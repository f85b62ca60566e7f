"""Everything that runs, with a link between every pair of processes.

students ─ lanes ─→ gRPC port      workers, admin ─ redis link ─→ redis-server
registry ─ admin link ─→ admin     workers ─ decoder links ─→ decoders
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.chaos.decoder_seam import DecoderSeam
from benchmarks.chaos.doors import Doors
from benchmarks.chaos.encryption import Encryption
from benchmarks.chaos.grpc_proxy import GrpcConnection
from benchmarks.chaos.proxy import Connection, Link, to_port
from benchmarks.chaos.service import ChaosRedis, ChaosService
from benchmarks.chaos.variation import Variation

_LOOK_SECONDS = 0.2


class Cluster:
    """A service, its Redis and the links.

    Args:
        directory: for everything; its name must be short.
        lanes: links to the gRPC port, one for each student.
        variation: how the service runs.
    """

    def __init__(self, directory: Path, lanes: int, variation: Variation) -> None:
        self.encryption = Encryption(directory) if variation.encrypted else None
        self.redis = ChaosRedis(directory / "redis")
        self.redis_link = Link("redis", to_port(lambda: self.redis.port))
        # Who cannot read what passes cannot tell frames apart.
        connection = Connection if variation.encrypted else GrpcConnection
        self.lanes = [
            Link(f"lane {number}", to_port(lambda: self.service.grpc_port), connection)
            for number in range(lanes)
        ]
        self.admin_link = Link("admin", to_port(lambda: self.service.admin_port))
        self._directory = directory
        self.variation = variation
        self.service: ChaosService
        self._seams = list[DecoderSeam]()
        self.restarts = 0
        self._watching = list[asyncio.Task[None]]()

    @property
    def links(self) -> list[Link]:
        """All of them."""
        return [*self.lanes, self.admin_link, *self.decoder_links, self.redis_link]

    @property
    def decoder_links(self) -> list[Link]:
        """Between workers and decoders."""
        return [seam.link for seam in self._seams]

    def doors(self, lane: int = 0) -> Doors:
        """The way in through the links."""
        address = f"127.0.0.1:{self.lanes[lane].port}"
        direct = self.service.doors()
        return dataclasses.replace(direct, grpc=address, admin_port=self.admin_link.port)

    async def start(self) -> None:
        """Start in order."""
        await asyncio.to_thread(self.redis.start)
        port = await self.redis_link.listen_tcp()
        counts = self.variation.workers, self.variation.decoders
        options = ["--workers", str(counts[0]), "--decoders", str(counts[1])]
        options += ["--redis-url", f"redis://127.0.0.1:{port}/0"]
        self.service = ChaosService(self._directory, options, self.encryption)
        self._seams = [DecoderSeam(self.service.sockets, n) for n in range(counts[1])]
        self._watching = [asyncio.create_task(seam.watch()) for seam in self._seams]
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

    def shows_newest_certificate(self) -> bool:
        """Whether both ports of an encrypted service show what was renewed last. Blocks."""
        ports = self.service.grpc_port, self.service.admin_port
        return self.encryption is None or self.encryption.is_served_at(*ports)

    async def stop(self) -> None:
        """End everything, whatever has happened."""
        if hasattr(self, "service"):
            await asyncio.to_thread(self.service.stop)
        for watching in self._watching:
            watching.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        for link in self.links:
            await link.close()
        await asyncio.to_thread(self.redis.kill)


@contextlib.asynccontextmanager
async def running_cluster(
    directory: Path, lanes: int, variation: Variation
) -> AsyncIterator[Cluster]:
    """A cluster that has started."""
    cluster = Cluster(directory, lanes, variation)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()
