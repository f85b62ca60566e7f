"""The metrics of all processes of a run, as Prometheus reads them.

prometheus-client decides when it is imported whether it counts for one process or for many, so
`share` is called before.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from labelcast.errors import BusyError

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def share(directory: Path) -> None:
    """Make this process, which has imported no metrics yet, write them where others sum them up.

    Args:
        directory: of the run; created if missing.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ[_DIRECTORY] = str(directory)


def forget_process(directory: Path, pid: int) -> None:
    """Drop the gauges of a process that has ended; what it counted stays."""
    from prometheus_client import multiprocess

    with contextlib.suppress(OSError):
        multiprocess.mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def served_metrics(host: str, port: int, pair: tuple[Path, Path] | None) -> Iterator[None]:
    """Serve this process's metrics over HTTP for as long as the block lasts.

    Args:
        host: address to listen on.
        port: port.
        pair: PEM files of a certificate and its key, read once; None for plain text.

    Raises:
        BusyError: the port is taken.
    """
    from prometheus_client import start_http_server

    certificate, key = (None, None) if pair is None else map(str, pair)
    try:
        server, thread = start_http_server(port, host, certfile=certificate, keyfile=key)
    except OSError as error:
        raise BusyError(
            f"cannot serve metrics on {host} port {port} ({error.strerror}); choose another"
            " LABELCAST_METRICS_PORT"
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def exposition() -> tuple[bytes, str]:
    """Text of all metrics, and its content type. Reads files: call it off the event loop."""
    from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = REGISTRY
    if _DIRECTORY in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
