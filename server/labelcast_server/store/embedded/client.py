"""Blocking requests to the embedded Redis over its socket, for starting and stopping it."""

import os
import select
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a Redis replied.

    Attributes:
        pid: its process ID.
        loaded_bytes: bytes of its data loaded so far; None once it is ready.
        total_bytes: bytes to load in all; 0 if it does not know.
    """

    pid: int
    loaded_bytes: int | None
    total_bytes: int


def ask(socket: Path) -> Answer | None:
    """Ask the Redis at `socket` how far it has loaded its data; None if nobody answers."""
    if not socket.exists():
        return None
    try:
        with closing(_client(socket)) as client:
            info: dict[str, Any] = client.info()
    except (RedisError, OSError):
        return None
    loading = bool(info.get("loading"))
    return Answer(
        pid=int(info["process_id"]),
        loaded_bytes=int(info.get("loading_loaded_bytes", 0)) if loading else None,
        total_bytes=int(info.get("loading_total_bytes", 0)),
    )


def request_shutdown(socket: Path) -> bool:
    """Ask the Redis at `socket` to end; returns whether it could be asked.

    NOSAVE: the append-only file is synced before Redis ends, and there are no snapshots.
    """
    try:
        with closing(_client(socket)) as client:
            client.shutdown(nosave=True)
    except BusyLoadingError:
        return False
    except (RedisError, OSError):
        # Ending closes the connection, which is the only reply there is.
        return True
    return True


def wait_for_end(pid: int, timeout_seconds: float) -> bool:
    """Wait for a process, which need not be a child; returns whether it ended in time."""
    if not hasattr(os, "pidfd_open"):
        return _poll_for_end(pid, timeout_seconds)
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except OSError:
        return _poll_for_end(pid, timeout_seconds)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(timeout_seconds * 1000))
    finally:
        os.close(descriptor)


def _poll_for_end(pid: int, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while psutil.pid_exists(pid):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True


def _client(socket: Path) -> Redis:
    return Redis(
        unix_socket_path=str(socket),
        socket_timeout=_ANSWER_SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
