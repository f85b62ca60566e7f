"""Tells a process that was forked while gRPC was at work, which gRPC does not survive."""

import contextlib
import gc
import os
import sys
from pathlib import Path
from types import ModuleType

from labelcast.errors import ForkedChannelError

_ADVICE = (
    "gRPC does not survive that; start workers with multiprocessing_context='forkserver'"
    " (or 'spawn'), or fetch labels in the main process"
)
_THREADS = Path("/proc/self/task")
# gRPC starts these with the first channel or server of a process, and ends them with the last.
_THREADS_OF_GRPC = ("event_engine", "grpc_")

# Processes that had one open. A child finds its parent's, and passes it on to its own children.
_ours_in: int | None = None
_others_in: int | None = None


def note_channel() -> None:
    """Remember that this process opens a channel: none of its children may."""
    global _ours_in
    _ours_in = os.getpid()


def refuse_forked() -> None:
    """Refuse a channel where it could hang or crash.

    Raises:
        ForkedChannelError: this process was forked, and its parent had opened a channel of ours, or
            another library had one open there at that time (on Linux).
    """
    # A closed channel of ours counts too: its threads end later, and of 168 children forked after
    # that, 5 hung.
    if _of_a_parent(_ours_in):
        raise _forked("that had opened a channel")
    if _of_a_parent(_others_in):
        raise _forked("in which another library had a gRPC channel or server open")


def _of_a_parent(process: int | None) -> bool:
    return process is not None and process != os.getpid()


def _forked(parent: str) -> ForkedChannelError:
    return ForkedChannelError(f"this process was forked from one {parent}, and {_ADVICE}")


def _others_at_work() -> bool:
    """Whether another library has a channel or server of gRPC open in this process."""
    grpc = sys.modules.get("grpc")
    if grpc is None or not _has_threads_of_grpc():
        return False
    # Ray and others bring a gRPC of their own, whose threads have the same names and do no harm to
    # ours. Frozen objects are not listed: then the threads alone decide.
    return gc.get_freeze_count() > 0 or _has_objects_of(grpc)


def _has_threads_of_grpc() -> bool:
    with contextlib.suppress(OSError):
        for thread in _THREADS.iterdir():
            with contextlib.suppress(OSError):  # It may end meanwhile.
                if (thread / "comm").read_text().startswith(_THREADS_OF_GRPC):
                    return True
    return False


def _has_objects_of(grpc: ModuleType) -> bool:
    open_ones = {grpc.Channel, grpc.Server, grpc.aio.Channel, grpc.aio.Server}
    types = {type(each) for each in gc.get_objects()}
    return any(not open_ones.isdisjoint(each.__mro__) for each in types)


def _before_fork() -> None:
    global _others_in
    if not _of_a_parent(_others_in):
        _others_in = os.getpid() if _others_at_work() else None


if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(before=_before_fork)
