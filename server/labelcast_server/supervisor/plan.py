"""The configuration that every process of a service receives."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labelcast_server.access.certificates import Certificates
from labelcast_server.store.disk import Disk

if TYPE_CHECKING:
    # Workers read a plan, and must not import what reads settings.
    from labelcast_server.settings import ServerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessPlan:
    """Everything that a process needs to know; sent by pickle to a spawned interpreter.

    Attributes:
        store_url: redis:// or unix:// address, with its password if it has one.
        host: address of the listeners.
        grpc_port: port for students, reserved by the supervisor.
        admin_port: port of the admin API, reserved by the supervisor.
        certificates: files of what both ports show; None for plain text.
        run_directory: private directory for the decoders' sockets.
        cache_directory: private directory of the cache, which outlives the run.
        cache_bytes: what its files may take; None leaves that to its disk.
        store_disk: disk that the embedded Redis writes to; None for a Redis elsewhere.
        admin_token: token that grants everything.
        read_token: token that grants reading; None lets everyone read.
        allow_unsafe_store: accept a Redis that could forget labels.
        devices: torch device of each decoder, or "auto".
        decoder_threads: CPU threads of each decoder.
        drain_seconds: time for running streams to end.
        max_streams: label streams that one worker serves at once.
        unsent_bytes: replies of one worker that are prepared or being sent.
        log_level: name of a level.
    """

    store_url: str
    host: str
    grpc_port: int
    admin_port: int
    run_directory: Path
    cache_directory: Path
    cache_bytes: int | None
    admin_token: str
    read_token: str | None
    allow_unsafe_store: bool
    devices: tuple[str, ...]
    decoder_threads: int
    drain_seconds: float
    max_streams: int
    unsent_bytes: int
    log_level: str
    certificates: Certificates | None = None
    store_disk: Disk | None = None

    @classmethod
    def of(
        cls,
        settings: "ServerSettings",
        *,
        admin_token: str,
        store_url: str,
        grpc_port: int,
        admin_port: int,
        run_directory: Path,
        cache_directory: Path,
        certificates: Certificates | None = None,
        store_disk: Disk | None = None,
    ) -> "ProcessPlan":
        """Combine the settings with what was found out and reserved since they were read."""
        read_token, devices = settings.read_token, settings.decoder_devices
        threads = settings.decoder_threads or (os.cpu_count() or 2) // 2 // len(devices)
        return cls(
            store_url=store_url,
            host=settings.host,
            grpc_port=grpc_port,
            admin_port=admin_port,
            run_directory=run_directory,
            cache_directory=cache_directory,
            cache_bytes=None if settings.cache_mib is None else settings.cache_mib * 2**20,
            admin_token=admin_token,
            read_token=None if read_token is None else read_token.get_secret_value(),
            allow_unsafe_store=settings.allow_unsafe_store,
            devices=devices,
            decoder_threads=max(1, threads),
            drain_seconds=settings.drain_seconds,
            max_streams=settings.max_streams,
            unsent_bytes=settings.unsent_mib * 2**20,
            log_level=settings.log_level,
            certificates=certificates,
            store_disk=store_disk,
        )

    def __repr__(self) -> str:
        return "ProcessPlan(…)"

    @property
    def admin_scheme(self) -> str:
        """Scheme of the admin API's URL."""
        return "http" if self.certificates is None else "https"

    @property
    def metrics_directory(self) -> Path:
        """Where the processes of a service leave their metrics."""
        return self.run_directory / "metrics"

    @property
    def decoder_sockets(self) -> tuple[Path, ...]:
        """Path of each decoder's socket."""
        return tuple(self.run_directory / f"decoder-{n}.sock" for n in range(len(self.devices)))
