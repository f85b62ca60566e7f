"""A single process of a service, for users whose own supervisor starts and watches it.

compose, Kubernetes or systemd then do the work of `labelcast_server.supervisor.supervisor`. The
processes of one service share a Redis and a data directory, where workers find the sockets of the
decoders and every process finds the admin token.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

from labelcast_server.settings import (
    PREFIX,
    ServerSettings,
    SettingsError,
    make_data_dir,
    resolve_admin_token,
)
from labelcast_server.store.embedded.data_dir_lock import DataDirLock
from labelcast_server.supervisor.encryption import certificates_of
from labelcast_server.supervisor.listeners import address_of, reserve_port
from labelcast_server.supervisor.own_directory import kept_directory
from labelcast_server.supervisor.plan import ProcessPlan
from labelcast_server.supervisor.process import run_until_stopped, set_up_logging
from labelcast_server.supervisor.pulse import Pulse, Ready
from labelcast_server.supervisor.roles import Listens, Role
from labelcast_server.telemetry.exposition import served_metrics

# sockaddr_un holds 104 bytes with the closing NUL on macOS.
_LONGEST_SOCKET_PATH = 103


def serve_alone(role: Role, settings: ServerSettings, on_ready: Callable[[str], None]) -> None:
    """Run one process in the foreground until SIGINT or SIGTERM.

    A process that hangs is not noticed here: ask for its health from outside.

    Args:
        role: role of the process.
        settings: read from environment and command line.
        on_ready: called once with the address or socket that it listens on, when it serves.

    Raises:
        SettingsError: no Redis is named, there is no such decoder, the data directory or the
            certificate is unusable, or plain text would leave this machine and is not allowed.
        BusyError: its port is taken, or the data directory has this decoder already.
        StorageError: Redis cannot be used.
    """
    set_up_logging(settings.log_level)
    decoders = len(settings.decoder_devices)
    if role.listens is Listens.SOCKET and role.number >= decoders:
        raise SettingsError(
            f"there is no {role.name}: the service has {decoders} decoders, counted from 0;"
            f" give --decoders or {PREFIX}DECODERS, to workers too"
        )
    on_a_port = role.listens is not Listens.SOCKET or settings.metrics_port is not None
    certificates = certificates_of(settings) if on_a_port else None
    make_data_dir(settings)
    directory = settings.data_dir.absolute() / "run"
    with contextlib.ExitStack() as stack:
        directory.mkdir(mode=0o700, exist_ok=True)
        ports = {Listens.GRPC: settings.grpc_port, Listens.ADMIN: settings.admin_port}
        if role.listens is Listens.SOCKET:
            lock = DataDirLock(directory / role.name)
            lock.acquire()
            stack.callback(lock.release)
        else:
            # Held, so that no process of another service shares the port unnoticed.
            reserved = stack.enter_context(reserve_port(settings.host, ports[role.listens]))
            ports[role.listens] = reserved.getsockname()[1]
        plan = ProcessPlan.of(
            settings,
            admin_token=resolve_admin_token(settings),
            store_url=_store_url(role, settings),
            grpc_port=ports[Listens.GRPC],
            admin_port=ports[Listens.ADMIN],
            run_directory=directory,
            cache_directory=kept_directory(settings.chunk_cache_dir),
            certificates=certificates,
        )
        for socket in plan.decoder_sockets:
            _require_short(socket)
        if settings.metrics_port is not None:
            stack.enter_context(
                served_metrics(
                    settings.host,
                    settings.metrics_port,
                    None if certificates is None else (certificates.certificate, certificates.key),
                )
            )
        pulse = Pulse(multiprocessing.get_context("spawn"))
        ready = Ready(pulse, announce=lambda: on_ready(_where(role, plan)))
        run_until_stopped(role.main, plan, ready, interruptible=True)


def _store_url(role: Role, settings: ServerSettings) -> str:
    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    if role.listens is Listens.SOCKET:
        return ""
    raise SettingsError(
        f"the {role.name} process shares a Redis with the others: set --redis-url or"
        f" {PREFIX}REDIS_URL, or run `labelcast-server serve`, which starts its own"
    )


def _require_short(socket: Path) -> None:
    if len(os.fsencode(socket)) > _LONGEST_SOCKET_PATH:
        raise SettingsError(f"{socket} is too long for a socket; choose a shorter data directory")


def _where(role: Role, plan: ProcessPlan) -> str:
    if role.listens is Listens.GRPC:
        return address_of(plan.host, plan.grpc_port)
    if role.listens is Listens.ADMIN:
        return f"{plan.admin_scheme}://{address_of(plan.host, plan.admin_port)}"
    return str(plan.decoder_sockets[role.number])
