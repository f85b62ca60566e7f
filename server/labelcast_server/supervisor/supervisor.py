"""The composition root: takes the ports, starts the processes, keeps them running, stops them.

    supervisor ─┬─ redis-server     (embedded; only without --redis-url)
                └─ a process for each of `labelcast_server.supervisor.roles`

A dead process is restarted, and a hanging one is killed first, for as long as the service runs:
codes need no decoder, and cached labels no Redis. Redis stops last.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from labelcast.errors import ServiceUnavailableError
from labelcast_server.settings import ServerSettings, make_data_dir, resolve_admin_token
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.store.open_store import open_store
from labelcast_server.supervisor.encryption import certificates_of
from labelcast_server.supervisor.listeners import address_of, reserve_port
from labelcast_server.supervisor.own_directory import kept_directory, run_directory
from labelcast_server.supervisor.plan import ProcessPlan
from labelcast_server.supervisor.process import set_up_logging
from labelcast_server.supervisor.roles import Turn, roles_of
from labelcast_server.supervisor.watching import Grace, WatchedProcess, WatchedRedis

logger = logging.getLogger("labelcast_server.supervisor")

_START_SECONDS = 120.0
_START_POLL_SECONDS = 0.05
_POLL_SECONDS = 0.2
_STOP_MARGIN_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of a running service."""

    grpc: str
    admin: str
    admin_token_file: Path | None


class Service:
    """A running labelcast service.

    Args:
        settings: read from environment and command line.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._children: list[WatchedProcess] = []
        self._redis: EmbeddedRedis | None = None
        self._watched_redis: WatchedRedis | None = None
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask `run` to drain and return; safe from a signal handler."""
        self._stop.set()

    def run(self, on_ready: Callable[[Addresses], None]) -> None:
        """Serve until stopped.

        Args:
            on_ready: called once, when every listener answers.

        Raises:
            SettingsError: the data directory or the certificate is unusable, or plain text would
                leave this machine and is not allowed.
            BusyError: a port or the data directory is taken.
            StorageError: Redis cannot be started or used.
            ServiceUnavailableError: a process did not start.
        """
        settings = self._settings
        certificates = certificates_of(settings)
        make_data_dir(settings)
        with contextlib.ExitStack() as stack:
            grpc_port = stack.enter_context(reserve_port(settings.host, settings.grpc_port))
            admin_port = stack.enter_context(reserve_port(settings.host, settings.admin_port))
            store_url = stack.enter_context(self._store_url())
            asyncio.run(_require_store(store_url))
            plan = ProcessPlan.of(
                settings,
                admin_token=resolve_admin_token(settings),
                store_url=store_url,
                grpc_port=grpc_port.getsockname()[1],
                admin_port=admin_port.getsockname()[1],
                run_directory=stack.enter_context(run_directory()),
                cache_directory=kept_directory(settings.chunk_cache_dir),
                certificates=certificates,
                store_disk=self._redis.disk if self._redis else None,
            )
            stack.callback(self._stop_children)
            self._set_up(plan)
            self._start_all()
            if self._stop.is_set():
                return
            on_ready(
                Addresses(
                    grpc=address_of(settings.host, plan.grpc_port),
                    admin=f"{plan.admin_scheme}://{address_of(settings.host, plan.admin_port)}",
                    admin_token_file=None
                    if settings.admin_token
                    else settings.data_dir / "admin.token",
                )
            )
            self._watch()

    @contextlib.contextmanager
    def _store_url(self) -> Iterator[str]:
        if self._settings.redis_url is not None:
            yield self._settings.redis_url.get_secret_value()
            return
        reserve = self._settings.disk_reserve_bytes
        with EmbeddedRedis(self._settings.data_dir, disk_reserve_bytes=reserve) as self._redis:
            self._watched_redis = WatchedRedis(self._redis)
            try:
                yield self._redis.url
            finally:
                self._watched_redis.settle()

    def _set_up(self, plan: ProcessPlan) -> None:
        spawn = multiprocessing.get_context("spawn")
        roles = roles_of(decoders=len(plan.devices), workers=self._settings.workers)
        self._children = [WatchedProcess(role, plan, spawn) for role in roles]

    def _start_all(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        for turn in Turn:
            together = self._of(turn)
            for child in together:
                child.start()
            for child in together:
                self._wait_until_ready(child, deadline)

    def _of(self, turn: Turn) -> list[WatchedProcess]:
        return [child for child in self._children if child.role.turn is turn]

    def _wait_until_ready(self, child: WatchedProcess, deadline: float) -> None:
        while not (child.is_ready or self._stop.wait(_START_POLL_SECONDS)):
            if not child.is_alive or time.monotonic() > deadline:
                raise ServiceUnavailableError(
                    f"the {child.name} process did not start; its log says why"
                )

    def _watch(self) -> None:
        watched: list[WatchedProcess | WatchedRedis] = [*self._children]
        if self._watched_redis is not None:
            watched.append(self._watched_redis)
        grace = Grace()
        while not self._stop.wait(_POLL_SECONDS):
            now = time.monotonic()
            grace.look(now)
            for each in watched:
                each.look(now, grace)

    def _stop_children(self) -> None:
        for turn in reversed(Turn):
            together = self._of(turn)
            # All at once: a worker that waited for its turn would still accept streams.
            for child in together:
                child.terminate()
            deadline = time.monotonic() + self._settings.drain_seconds + _STOP_MARGIN_SECONDS
            for child in together:
                child.join(max(0.0, deadline - time.monotonic()))


def serve(settings: ServerSettings, on_ready: Callable[[Addresses], None]) -> None:
    """Run a service in this process's foreground until SIGINT or SIGTERM."""
    set_up_logging(settings.log_level)
    service = Service(settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: service.stop())
    service.run(on_ready)


async def _require_store(url: str) -> None:
    """Raise now what every process would only log later: no such Redis, or a wrong password."""
    store = open_store(url)
    try:
        await store.ping()
    finally:
        await store.close()
