"""What goes wrong, where and when: drawn from a seed."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import psutil

from benchmarks.chaos.cluster import Cluster
from benchmarks.chaos.grpc_proxy import GrpcConnection, Withdrawal
from benchmarks.chaos.http2 import ErrorCode
from benchmarks.chaos.proxy import Connection, Link, Pipe, flipping
from benchmarks.chaos.service import Role

# Of all faults on links: kinds, and places. The decoder's seam sees few bytes but all dense labels.
_GRPC_KINDS = {
    "cut": 0.30,
    "half_close": 0.07,
    "refuse": 0.06,
    "stall": 0.06,
    "slow": 0.05,
    "flip": 0.12,
    "goaway": 0.22,
    "rst_stream": 0.12,
}
_BYTE_KINDS = {
    "cut": 0.35,
    "half_close": 0.10,
    "refuse": 0.10,
    "stall": 0.10,
    "slow": 0.10,
    "flip": 0.25,
}
_PLACES = {"grpc": 0.72, "decoder": 0.13, "redis": 0.11, "admin": 0.04}
# A supervisor takes everything with it, and half a minute to come back.
_ROLES: dict[Role, float] = {
    "decoder": 0.34,
    "worker": 0.34,
    "admin": 0.12,
    "redis": 0.14,
    "supervisor": 0.06,
}
_STOPPED_SHARE = 0.35
# A pair that does not belong together for a moment: files are renamed one by one.
_LONGEST_RENEWAL_SECONDS = 2.0
# Longer than a liveness bound of ten seconds, now and then.
_LONG_STOP_SECONDS = 13.0
_WITHDRAWN: dict[str, Withdrawal] = {
    "cut": "cut",
    "goaway": "goaway",
    "rst_stream": "rst_stream",
}
_YOUNG_SHARE = 0.6
_MEETING_SECONDS = 4.0


@dataclass(frozen=True)
class Fault:
    """One that has happened.

    Attributes:
        kind: what.
        place: grpc, decoder, redis, admin, certificate, or a process.
        lane: of the students' links; None for other places.
        at: when it began, by the monotonic clock.
        until: when it was over: a connection that is cut is cut at once, a stall is lifted.
    """

    kind: str
    place: str
    lane: int | None
    at: float
    until: float


class Injector:
    """Makes things go wrong.

    Args:
        cluster: where.
        seed: of everything that is drawn.
        record: told of each fault once it is over.
    """

    def __init__(self, cluster: Cluster, seed: int, record: Callable[[Fault], None]) -> None:
        self._cluster = cluster
        self._random = np.random.default_rng(seed)
        self._record = record
        # Each is killed once before any is met by chance.
        self._to_kill = [str(role) for role in self._random.permutation(list(_ROLES))]

    async def on_a_link(self) -> None:
        """One fault on one connection, if there is one."""
        place = self._draw(_PLACES)
        lane = None
        if place == "grpc":
            lane = int(self._random.integers(len(self._cluster.lanes)))
            link = self._cluster.lanes[lane]
        else:
            links = {
                "decoder": self._cluster.decoder_links,
                "redis": [self._cluster.redis_link],
                "admin": [self._cluster.admin_link],
            }[place]
            link = links[int(self._random.integers(len(links)))]
        framed = place == "grpc" and self._cluster.encryption is None
        kind = self._draw(_GRPC_KINDS if framed else _BYTE_KINDS)
        young = framed and kind in _WITHDRAWN and self._random.random() < _YOUNG_SHARE
        happened = await (self._ambush(link, kind) if young else self._inflict(link, kind))
        if happened is not None:
            self._record(Fault(kind, place, lane, happened, time.monotonic()))

    async def on_the_certificate(self) -> None:
        """Renew what an encrypted service shows."""
        encryption, at = self._cluster.encryption, time.monotonic()
        assert encryption is not None
        await encryption.renew(float(self._random.uniform(0, _LONGEST_RENEWAL_SECONDS)))
        self._record(Fault("renew", "certificate", None, at, time.monotonic()))

    async def on_a_process(self) -> None:
        """Kill or stop one process."""
        chance = not self._to_kill
        role = cast("Role", self._draw(_ROLES) if chance else self._to_kill.pop())
        stops = chance and self._random.random() < _STOPPED_SHARE
        long = self._random.random() < 0.2
        seconds = _LONG_STOP_SECONDS if long else float(self._random.uniform(0.5, 4.0))
        process = await self._process(role)
        if process is None:
            return
        at = time.monotonic()
        with contextlib.suppress(psutil.Error):
            if stops:
                process.suspend()
                try:
                    await asyncio.sleep(seconds)
                finally:
                    with contextlib.suppress(psutil.Error):
                        process.resume()
            elif role == "redis":
                await asyncio.to_thread(self._cluster.redis.kill)
                await asyncio.sleep(min(seconds, 3.0))
                await asyncio.to_thread(self._cluster.redis.start)
            else:
                process.send_signal(signal.SIGKILL)
            kind = "stop" if stops else "kill"
            self._record(Fault(kind, role, None, at, time.monotonic()))

    async def _process(self, role: Role) -> psutil.Process | None:
        if role == "redis":
            return self._cluster.redis.process
        found = await asyncio.to_thread(self._cluster.service.find, role)
        return found[int(self._random.integers(len(found)))] if found else None

    async def _ambush(self, link: Link, kind: str) -> float | None:
        data_frames = int(self._random.integers(0, 12))
        deadline = time.monotonic() + _MEETING_SECONDS
        while time.monotonic() < deadline:
            found = await self._connection(link)
            if found is None:
                return None
            connection = cast("GrpcConnection", found)
            sprung = connection.ambush(_WITHDRAWN[kind], data_frames=data_frames)
            waiting = [asyncio.create_task(one.wait()) for one in (sprung, connection.closed)]
            await asyncio.wait(
                waiting,
                timeout=deadline - time.monotonic(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in waiting:
                task.cancel()
            if sprung.is_set():
                return time.monotonic()
            connection.call_off()
        return None

    async def _inflict(self, link: Link, kind: str) -> float | None:
        """When it happened; None if it did not."""
        random = self._random
        if kind == "refuse":
            began = time.monotonic()
            for each in list(link.connections):
                each.cut(reset=bool(random.random() < 0.5))
            await link.refuse(float(random.uniform(0.1, 2.0)))
            return began
        connection = await self._connection(link)
        if connection is None:
            return None
        pipe = connection.down if random.random() < 0.5 else connection.up
        seconds = float(random.uniform(0.3, 3.0))
        match kind:
            case "cut":
                return await self._cut(connection)
            case "flip":
                after = self._bytes(2**13)
                return await _sprung(pipe.trap(after, flipping(int(random.integers(8)))), pipe)
            case "half_close":
                pipe.half_close()
                return time.monotonic()
            case "stall":
                at = time.monotonic()
                pipe.hold()
                await asyncio.sleep(_LONG_STOP_SECONDS if random.random() < 0.1 else seconds)
                pipe.release()
                return at
            case "slow":
                at = time.monotonic()
                pipe.bytes_per_second = float(10 ** random.uniform(3.3, 5))
                await asyncio.sleep(seconds)
                pipe.bytes_per_second = None
                return at
        assert isinstance(connection, GrpcConnection)
        return await self._withdraw(connection, kind)

    async def _cut(self, connection: Connection) -> float | None:
        reset = bool(self._random.random() < 0.5)
        pipe = connection.down if self._random.random() < 0.5 else connection.up
        sprung = pipe.trap(self._bytes(2**16), connection.cutting(reset=reset))
        at = await _sprung(sprung, pipe, seconds=0.5)
        if at is None and not connection.closed.is_set():
            connection.cut(reset=reset)
            at = time.monotonic()
        return at

    async def _withdraw(self, connection: GrpcConnection, kind: str) -> float | None:
        if kind == "goaway":
            if self._random.random() < 0.5:
                await connection.drain()
            else:
                await connection.refuse_newest()
            return time.monotonic()
        if not connection.streams:
            return None
        error = list(ErrorCode)[int(self._random.integers(len(ErrorCode)))]
        await connection.reset_stream(max(connection.streams), error)
        return time.monotonic()

    async def _connection(self, link: Link) -> Connection | None:
        deadline = time.monotonic() + 1
        while not link.connections:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(0.01)
        found = sorted(link.connections, key=id)
        return found[int(self._random.integers(len(found)))]

    def _bytes(self, most: int) -> int:
        """From 0 on, of every order of magnitude alike."""
        return int(np.exp(self._random.uniform(0, np.log(most)))) - 1

    def _draw(self, shares: Mapping[Any, float]) -> str:
        names, weights = list(shares), np.array(list(shares.values()))
        return str(names[int(self._random.choice(len(names), p=weights / weights.sum()))])


async def _sprung(sprung: asyncio.Event, pipe: Pipe, *, seconds: float = 2.0) -> float | None:
    try:
        await asyncio.wait_for(sprung.wait(), seconds)
    except TimeoutError:
        pipe.disarm()
        return None
    return time.monotonic()
