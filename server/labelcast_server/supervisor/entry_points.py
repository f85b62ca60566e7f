"""What runs inside each process of the service; everything heavy is imported there, not here."""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelcast.errors import LabelcastError
from labelcast_server.store.disk import Disk
from labelcast_server.supervisor.pulse import Pulse, Ready


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPlan:
    """Everything a process needs to know; it travels by pickle to a spawned interpreter.

    Attributes:
        store_url: redis:// or unix:// address, with its password if it has one.
        host: address of the listeners.
        grpc_port: taken by the supervisor.
        admin_port: taken by the supervisor.
        run_directory: private; holds the decoder's socket.
        cache_directory: private too; for the chunk cache.
        store_disk: where the embedded Redis writes; None for a Redis elsewhere.
        admin_token: grants everything.
        read_token: grants reading; None lets everyone read.
        allow_unsafe_store: accept a Redis that could forget.
        device: torch device or "auto".
        decoder_threads: CPU threads of the decoder.
        drain_seconds: grace for running streams.
        max_streams: label streams of one worker at once.
        unsent_bytes: replies of one worker that are prepared or being sent.
        log_level: name of a level.
    """

    store_url: str
    host: str
    grpc_port: int
    admin_port: int
    run_directory: Path
    cache_directory: Path
    admin_token: str
    read_token: str | None
    allow_unsafe_store: bool
    device: str
    decoder_threads: int
    drain_seconds: float
    max_streams: int
    unsent_bytes: int
    log_level: str
    store_disk: Disk | None = None

    def __repr__(self) -> str:
        return "ProcessPlan(…)"

    @property
    def decoder_socket(self) -> Path:
        """Where the decoder process listens."""
        return self.run_directory / "decoder.sock"


def set_up_logging(level: str) -> None:
    """Log to standard error, in the same way in every process of the service."""
    logging.basicConfig(
        level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )


def run_process(
    main: Callable[[ProcessPlan, asyncio.Event, Ready], Coroutine[Any, Any, None]],
    plan: ProcessPlan,
    pulse: Pulse,
) -> None:
    """Entry point of a spawned process: logging, signals, one event loop, one-line errors.

    Args:
        main: coroutine function of the process; it sets `ready` and ends when the event is set.
        plan: configuration.
        pulse: beats from then on.
    """
    set_up_logging(plan.log_level)
    try:
        asyncio.run(_until_stopped(main, plan, pulse))
    except LabelcastError as error:
        # One line, no traceback: the error says what to do.
        logging.getLogger("labelcast_server").error("%s", error)  # noqa: TRY400
        raise SystemExit(1) from None
    finally:
        if _is_orphan():
            # Nobody else is left to do it. The cache stays for those that still drain; the next
            # start removes it.
            shutil.rmtree(plan.run_directory, ignore_errors=True)


async def _until_stopped(
    main: Callable[[ProcessPlan, asyncio.Event, Ready], Coroutine[Any, Any, None]],
    plan: ProcessPlan,
    pulse: Pulse,
) -> None:
    stop, ready = asyncio.Event(), Ready(pulse)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Ctrl-C reaches the whole group; the supervisor stops everyone in order.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    watcher = asyncio.create_task(_stop_with_parent(stop))
    working, beating = (
        asyncio.create_task(main(plan, stop, ready)),
        asyncio.create_task(ready.beat_on()),
    )
    try:
        await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (watcher, working, beating):
            task.cancel()
        outcomes = await asyncio.gather(watcher, working, beating, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def _stop_with_parent(stop: asyncio.Event) -> None:
    # A supervisor that was killed cannot stop its children; none of them may outlive it for long,
    # not even one that was still importing when it happened.
    while not _is_orphan():  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.5)
    stop.set()


def _is_orphan() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and os.getppid() != parent.pid


async def io_worker(plan: ProcessPlan, stop: asyncio.Event, ready: Ready) -> None:
    """gRPC: gather packed rows, have them decoded, send."""
    from labelcast.wire import MESSAGE_BYTES
    from labelcast_server.access.tokens import Tokens
    from labelcast_server.decoder.client import DecoderClient
    from labelcast_server.delivery.cache.chunks import ChunkCache
    from labelcast_server.delivery.cache.scrubber import Scrubber
    from labelcast_server.delivery.service import LabelService
    from labelcast_server.rpc.server import RpcServer
    from labelcast_server.store.open import open_store
    from labelcast_server.supervisor.listeners import address_of

    store = open_store(plan.store_url)
    decoder = DecoderClient(plan.decoder_socket)
    chunks = ChunkCache(store.blobs, plan.cache_directory, disk=plan.store_disk)
    service = LabelService(
        store,
        chunks,
        decoder,
        block_bytes=MESSAGE_BYTES,
        unsent_bytes=plan.unsent_bytes,
    )
    tokens = Tokens(admin_token=plan.admin_token, read_token=plan.read_token)
    server = RpcServer(service, tokens, max_streams=plan.max_streams)
    await server.start(address_of(plan.host, plan.grpc_port))
    scrubbing = asyncio.create_task(Scrubber(chunks).run())
    ready.set()
    await server.serve_until(stop, drain_seconds=plan.drain_seconds)
    scrubbing.cancel()
    await decoder.close()
    await store.close()


async def admin_api(plan: ProcessPlan, stop: asyncio.Event, ready: Ready) -> None:
    """REST: uploads, label sets, tags."""
    from labelcast_server.access.tokens import Tokens
    from labelcast_server.admin.app import create_app
    from labelcast_server.admin.server import serve_admin
    from labelcast_server.registry.publishing import Publisher
    from labelcast_server.store.open import open_store
    from labelcast_server.store.upkeep import keep_up
    from labelcast_server.supervisor.listeners import bind_shared

    store = open_store(plan.store_url, disk=plan.store_disk)
    publisher = Publisher(store, allow_unsafe_store=plan.allow_unsafe_store)
    tokens = Tokens(admin_token=plan.admin_token, read_token=plan.read_token)
    app = create_app(publisher, tokens, ping=store.ping)
    listener = bind_shared(plan.host, plan.admin_port)
    listener.listen()
    ready.set()
    upkeep = asyncio.create_task(keep_up(store.blobs))
    await serve_admin(app, listener, stop=stop, drain_seconds=plan.drain_seconds)
    upkeep.cancel()
    await store.close()


async def decoder(plan: ProcessPlan, stop: asyncio.Event, ready: Ready) -> None:
    """torch: codes to labels, for every worker."""
    # Threads that spin between batches would take the cores from I/O workers and students.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from labelcast.torch.device import choose_device, limit_threads
    from labelcast_server.decoder.server import DecoderServer

    limit_threads(plan.decoder_threads)
    server = DecoderServer(choose_device(plan.device))
    plan.decoder_socket.unlink(missing_ok=True)
    listening = asyncio.Event()
    serving = asyncio.create_task(server.serve(plan.decoder_socket, listening))
    started = asyncio.create_task(listening.wait())
    await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
    if listening.is_set():
        # It lives as long as labels decode, in the queue and on the device of all others.
        ready.set(server.probe)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
    started.cancel()
    if serving.done():
        serving.result()
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
