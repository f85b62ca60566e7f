"""What runs inside each process of the service; heavy modules are imported inside, not here."""

import asyncio
import contextlib
import os

from labelcast_server.supervisor.plan import ProcessPlan
from labelcast_server.supervisor.pulse import Ready


async def io_worker(plan: ProcessPlan, stop: asyncio.Event, ready: Ready) -> None:
    """gRPC: gather packed rows, have them decoded, send."""
    from labelcast.wire import MESSAGE_BYTES
    from labelcast_server.access.tokens import Tokens
    from labelcast_server.background import background
    from labelcast_server.decoder.fleet import DecoderFleet
    from labelcast_server.decoder.shared_rows import SharedRows
    from labelcast_server.delivery.cache.bounds import Bounds
    from labelcast_server.delivery.cache.chunks import ChunkCache
    from labelcast_server.delivery.cache.directory import CacheDirectory
    from labelcast_server.delivery.cache.scrubber import Scrubber
    from labelcast_server.delivery.cache.tables import SharedTables, scrub_tables
    from labelcast_server.delivery.service import LabelService
    from labelcast_server.rpc.server import RpcServer
    from labelcast_server.store.open_store import open_store
    from labelcast_server.supervisor.listeners import address_of
    from labelcast_server.supervisor.process import keep_large_arrays_off_the_heap

    keep_large_arrays_off_the_heap()
    store = open_store(plan.store_url)
    decoder = SharedRows(DecoderFleet(plan.decoder_sockets))
    bounds = Bounds(plan.cache_bytes, plan.store_disk)
    directory = CacheDirectory(plan.cache_directory, bounds)
    chunks, tables = ChunkCache(store.blobs, directory), SharedTables(directory)
    service = LabelService(
        store,
        chunks,
        tables,
        decoder,
        message_bytes=MESSAGE_BYTES,
        unsent_bytes=plan.unsent_bytes,
    )
    tokens = Tokens(admin_token=plan.admin_token, read_token=plan.read_token)
    server = RpcServer(service, tokens, max_streams=plan.max_streams)
    await server.start(address_of(plan.host, plan.grpc_port), plan.certificates)
    upkeep = (
        Scrubber(chunks).run(),
        scrub_tables(tables, service.renew),
        directory.tend(chunks.look, tables.look),
        service.watch(),
    )
    async with background(*upkeep):
        ready.set()
        await server.serve_until(stop, drain_seconds=plan.drain_seconds)
    await decoder.close()
    await store.close()


async def admin_api(plan: ProcessPlan, stop: asyncio.Event, ready: Ready) -> None:
    """REST: uploads, label sets, tags."""
    from labelcast_server.access.tokens import Tokens
    from labelcast_server.admin.app import create_app
    from labelcast_server.admin.server import serve_admin
    from labelcast_server.background import background
    from labelcast_server.registry.services import RegistryServices
    from labelcast_server.store.open_store import open_store
    from labelcast_server.store.upkeep import keep_up
    from labelcast_server.supervisor.listeners import bind_shared

    store = open_store(plan.store_url, disk=plan.store_disk)
    services = RegistryServices.over(store, allow_unsafe_store=plan.allow_unsafe_store)
    tokens = Tokens(admin_token=plan.admin_token, read_token=plan.read_token)
    app = create_app(services, tokens, ping=store.ping)
    listener = bind_shared(plan.host, plan.admin_port)
    listener.listen()
    ready.set()
    async with background(keep_up(store.blobs)):
        await serve_admin(
            app,
            listener,
            stop=stop,
            drain_seconds=plan.drain_seconds,
            certificates=plan.certificates,
        )
    await store.close()


async def decoder(number: int, plan: ProcessPlan, stop: asyncio.Event, ready: Ready) -> None:
    """torch: codes to labels, for every worker, on the device of this decoder."""
    # Threads that spin between batches would take the cores from I/O workers and students.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from labelcast.torch.device import choose_device, limit_threads
    from labelcast_server.decoder.server import DecoderServer

    limit_threads(plan.decoder_threads)
    server = DecoderServer(choose_device(plan.devices[number]))
    socket_path = plan.decoder_sockets[number]
    socket_path.unlink(missing_ok=True)
    listening = asyncio.Event()
    serving = asyncio.create_task(server.serve(socket_path, listening))
    started = asyncio.create_task(listening.wait())
    await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
    if listening.is_set():
        # It stays alive as long as labels decode, through the same queue and device as all others.
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
