"""What every process of a service does besides its work: logs, signals, signs of life, memory."""

import asyncio
import ctypes
import faulthandler
import gc
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from labelcast.errors import LabelcastError
from labelcast_server.background import end
from labelcast_server.supervisor.plan import ProcessPlan
from labelcast_server.supervisor.pulse import Pulse, Ready
from labelcast_server.telemetry.exposition import share

_TRIM_SECONDS = 10.0
_END_SECONDS = 10.0
# Of mallopt in <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_HEAP_BYTES = 2**23


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
        pulse: pulse that beats once the process is ready.
    """
    set_up_logging(plan.log_level)
    share(plan.metrics_directory)
    try:
        run_until_stopped(main, plan, Ready(pulse), interruptible=False)
    except LabelcastError as error:
        # One line, no traceback: the error says what to do.
        logging.getLogger("labelcast_server").error("%s", error)  # noqa: TRY400
        raise SystemExit(1) from None
    finally:
        if _is_orphan():
            # Nobody else is left to do it. The cache stays for those that still drain; the next
            # start removes it.
            shutil.rmtree(plan.run_directory, ignore_errors=True)
        # Looking once more for cycles among all modules' objects would only delay the end.
        gc.freeze()


def run_until_stopped(
    main: Callable[[ProcessPlan, asyncio.Event, Ready], Coroutine[Any, Any, None]],
    plan: ProcessPlan,
    ready: Ready,
    *,
    interruptible: bool,
) -> None:
    """Run a process until SIGTERM, or until its parent is gone.

    Args:
        main: as for `run_process`.
        plan: configuration.
        ready: beats once the process works.
        interruptible: whether SIGINT ends it too. Ctrl-C reaches the whole group, and a supervisor
            stops its processes in order.
    """
    try:
        asyncio.run(_until_stopped(main, plan, ready, interruptible=interruptible))
    finally:
        faulthandler.cancel_dump_traceback_later()


async def _until_stopped(
    main: Callable[[ProcessPlan, asyncio.Event, Ready], Coroutine[Any, Any, None]],
    plan: ProcessPlan,
    ready: Ready,
    *,
    interruptible: bool,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, stop.set if interruptible else lambda: None)
    watcher = asyncio.create_task(_stop_with_parent(stop))
    trimming = asyncio.create_task(_return_memory())
    working, beating = (
        asyncio.create_task(main(plan, stop, ready)),
        asyncio.create_task(ready.beat_on()),
    )
    every = watcher, trimming, working, beating
    try:
        await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # Whatever is left running, by libraries too: a process that lives on holds ports and files,
        # and nobody looks after one without a parent.
        faulthandler.dump_traceback_later(_END_SECONDS, exit=True)
        await end(*every)
    for task in every:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            raise error


def keep_large_arrays_off_the_heap() -> None:
    """Have what is larger than a unit of labels go back to the system when it is freed.

    glibc takes larger and larger arrays, up to 32 MiB, from the heaps of its threads, whose free
    ends it keeps: after tables of label sets were made, 100 MB in a worker. Other C libraries have
    no such function.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_MMAP_THRESHOLD, _HEAP_BYTES)
        # What glibc itself would choose with it.
        set_option(_M_TRIM_THRESHOLD, 2 * _HEAP_BYTES)


async def _stop_with_parent(stop: asyncio.Event) -> None:
    # A supervisor that was killed cannot stop its children; none of them may outlive it for long,
    # not even one that was still importing.
    while not _is_orphan():  # noqa: ASYNC110 - no event tells of it
        await asyncio.sleep(0.5)
    stop.set()


def _is_orphan() -> bool:
    parent = multiprocessing.parent_process()
    return parent is not None and os.getppid() != parent.pid


async def _return_memory() -> None:
    # What a thousand streams leave behind is free but scattered: glibc gives nothing of it back to
    # the system unless it is asked. Other C libraries have no such function.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(_TRIM_SECONDS)
        await asyncio.to_thread(trim, 0)
