"""The composition root: takes the ports, starts the processes, keeps them running, stops them.

    supervisor ─┬─ redis-server     (embedded; only without --redis-url)
                ├─ decoder          torch
                ├─ I/O worker × n   gRPC, torch-free, sharing the port
                └─ admin            FastAPI

A process that dies is started again; one that keeps dying ends the service. Redis stops last.
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelcast.errors import LabelcastError, ServiceUnavailableError
from labelcast_server import processes
from labelcast_server.listeners import address_of, reserve_port
from labelcast_server.processes import ProcessPlan, run_process
from labelcast_server.settings import ServerSettings, make_data_dir, resolve_admin_token
from labelcast_server.store.data_dir_lock import DataDirLock, lock_holder
from labelcast_server.store.embedded import EmbeddedRedis
from labelcast_server.store.open import open_store

logger = logging.getLogger("labelcast_server.app")

_START_SECONDS = 120.0
_RESTART_WINDOW_SECONDS = 60.0
_RESTARTS_IN_WINDOW = 5
_POLL_SECONDS = 0.2
_STOP_MARGIN_SECONDS = 5.0
# sockaddr_un holds 104 bytes with the closing NUL on macOS, and a socket's name comes on top.
_LONGEST_RUN_DIRECTORY = 80


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running service is found."""

    grpc: str
    admin: str
    admin_token_file: Path | None


@dataclass
class _Child:
    """One process of the service and its recent deaths."""

    name: str
    main: Callable[..., Any]
    process: Any = None
    ready: Any = None
    deaths: list[float] = field(default_factory=list)


class Service:
    """A running labelcast service.

    Args:
        settings: read from environment and command line.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._spawn = multiprocessing.get_context("spawn")
        self._children = [_Child("decoder", processes.decoder)]
        self._children += [
            _Child(f"io-worker-{number}", processes.io_worker) for number in range(settings.workers)
        ]
        self._children.append(_Child("admin", processes.admin_api))
        self._redis: EmbeddedRedis | None = None
        self._redis_deaths: list[float] = []
        self._stop = threading.Event()

    def stop(self) -> None:
        """Ask `run` to drain and return; safe from a signal handler."""
        self._stop.set()

    def run(self, on_ready: Callable[[Addresses], None]) -> None:
        """Serve until stopped.

        Args:
            on_ready: called once, when every listener answers.

        Raises:
            SettingsError: the data directory cannot be one.
            BusyError: a port or the data directory is taken.
            StorageError: Redis cannot be started or used.
            ServiceUnavailableError: a process keeps dying.
        """
        settings = self._settings
        make_data_dir(settings)
        with contextlib.ExitStack() as stack:
            grpc_port = stack.enter_context(reserve_port(settings.host, settings.grpc_port))
            admin_port = stack.enter_context(reserve_port(settings.host, settings.admin_port))
            store_url = stack.enter_context(self._store_url())
            asyncio.run(_require_store(store_url))
            plan = ProcessPlan(
                store_url=store_url,
                host=settings.host,
                grpc_port=grpc_port.getsockname()[1],
                admin_port=admin_port.getsockname()[1],
                run_directory=Path(stack.enter_context(_run_directory())),
                cache_directory=stack.enter_context(_fresh_cache(settings.chunk_cache_dir)),
                admin_token=resolve_admin_token(settings),
                read_token=None
                if settings.read_token is None
                else settings.read_token.get_secret_value(),
                allow_unsafe_store=settings.allow_unsafe_store,
                device=settings.device,
                decoder_threads=settings.decoder_threads or max(1, (os.cpu_count() or 2) // 2),
                drain_seconds=settings.drain_seconds,
                max_streams=settings.max_streams,
                unsent_bytes=settings.unsent_mib * 2**20,
                log_level=settings.log_level,
                store_disk=self._redis.disk if self._redis else None,
            )
            stack.callback(self._stop_children)
            self._start_all(plan)
            if self._stop.is_set():
                return
            on_ready(
                Addresses(
                    grpc=address_of(settings.host, plan.grpc_port),
                    admin=f"http://{address_of(settings.host, plan.admin_port)}",
                    admin_token_file=None
                    if settings.admin_token
                    else settings.data_dir / "admin.token",
                )
            )
            while not self._stop.wait(_POLL_SECONDS):
                self._revive(plan)

    @contextlib.contextmanager
    def _store_url(self) -> Iterator[str]:
        if self._settings.redis_url is not None:
            yield self._settings.redis_url.get_secret_value()
            return
        reserve = self._settings.disk_reserve_bytes
        with EmbeddedRedis(self._settings.data_dir, disk_reserve_bytes=reserve) as self._redis:
            yield self._redis.url

    def _start_all(self, plan: ProcessPlan) -> None:
        deadline = time.monotonic() + _START_SECONDS
        # The decoder first: without it nothing else can serve.
        for together in (self._children[:1], self._children[1:]):
            for child in together:
                self._start(child, plan)
            for child in together:
                self._wait_until_ready(child, deadline)

    def _wait_until_ready(self, child: _Child, deadline: float) -> None:
        while not (self._stop.is_set() or child.ready.wait(_POLL_SECONDS)):
            if not child.process.is_alive() or time.monotonic() > deadline:
                raise ServiceUnavailableError(
                    f"the {child.name} process did not start; its log says why"
                )

    def _start(self, child: _Child, plan: ProcessPlan) -> None:
        # Kept: collected here before the process has taken it up, it would be gone there.
        child.ready = self._spawn.Event()
        child.process = self._spawn.Process(
            target=run_process, args=(child.main, plan, child.ready), name=child.name
        )
        child.process.start()

    def _revive(self, plan: ProcessPlan) -> None:
        # A full disk ends a Redis that must not lose what it has acknowledged.
        if self._redis is not None and not self._redis.is_running():
            _note_death("redis", self._redis_deaths)
            self._redis.start()
        for child in self._children:
            if not child.process.is_alive():
                _note_death(child.name, child.deaths)
                self._start(child, plan)

    def _stop_children(self) -> None:
        # Listeners first, and together: nobody may ask a decoder that is gone, and a worker that
        # waits for its turn would still take streams.
        decoder, *listeners = self._children
        self._stop_together(listeners)
        self._stop_together([decoder])

    def _stop_together(self, children: list[_Child]) -> None:
        running = [child.process for child in children if child.process]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._settings.drain_seconds + _STOP_MARGIN_SECONDS
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                logger.error("%s did not stop in time and is killed", process.name)
                process.kill()
                process.join()


def _note_death(name: str, deaths: list[float]) -> None:
    now = time.monotonic()
    deaths[:] = [at for at in deaths if now - at < _RESTART_WINDOW_SECONDS] + [now]
    logger.error("%s ended; starting it again", name)
    if len(deaths) > _RESTARTS_IN_WINDOW:
        raise ServiceUnavailableError(f"{name} keeps dying; its log says why")


def serve(settings: ServerSettings, on_ready: Callable[[Addresses], None]) -> None:
    """Run a service in this process's foreground until SIGINT or SIGTERM."""
    processes.set_up_logging(settings.log_level)
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


def _run_directory() -> "tempfile.TemporaryDirectory[str]":
    directory = tempfile.TemporaryDirectory(prefix="labelcast-")
    if len(os.fsencode(directory.name)) <= _LONGEST_RUN_DIRECTORY:
        return directory
    directory.cleanup()
    return tempfile.TemporaryDirectory(prefix="labelcast-", dir="/tmp")


@contextlib.contextmanager
def _fresh_cache(directory: Path) -> Iterator[Path]:
    """A directory of this service's own for chunks; those of services that have ended are removed.

    Chunks come back from Redis when they are asked for; a cache that a crash left half written is
    not worth checking, and workers of a service that was killed may write on for a moment.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for old in directory.glob("chunks*"):
            if lock_holder(old) is None:
                shutil.rmtree(old, ignore_errors=True)
        unlocked = Path(tempfile.mkdtemp(prefix="new-", dir=directory))
        lock = DataDirLock(unlocked)
        lock.acquire()
        # Others look at it only from here on, when it is locked.
        own = unlocked.rename(directory / unlocked.name.replace("new-", "chunks-"))
    except OSError as error:
        raise LabelcastError(f"cannot use the cache directory {directory}: {error}") from None
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        lock.release()
