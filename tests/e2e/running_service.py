"""`labelcast-server serve` as people run it: a process of its own, on ports of 127.0.0.1."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from redis import Redis

from labelcast import AsyncLabelClient, LabelClient
from labelcast.errors import LabelcastError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.registry.client import Registry
from labelcast_server.store.embedded.release import ServerKind

COMMAND = (sys.executable, "-m", "labelcast_server.cli")
_START_SECONDS = 90.0
_STOP_SECONDS = 60.0
_SERVERS = frozenset(kind.program for kind in ServerKind)


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without what the person who runs the tests has set for labelcast."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LABELCAST_")}
    return kept | dict(extra or {})


def run_command(
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] = COMMAND,
) -> subprocess.CompletedProcess[str]:
    """A command of `labelcast-server` that ends by itself."""
    return subprocess.run(
        [*program, *arguments],
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=_START_SECONDS,
    )


def eventually(condition: Callable[[], bool | None], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.05)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Processes:
    """The processes of a running service, by what they do."""

    supervisor: psutil.Process
    decoder: psutil.Process
    workers: list[psutil.Process]
    admin: psutil.Process
    redis: psutil.Process | None
    all: list[psutil.Process]


class RunningService:
    """One service; start it, kill parts of it, stop it, start it again on the same data.

    Args:
        data_dir: survives a restart; its parent holds the log.
        options: more of the command line.
        environment: variables beside the caller's own.
    """

    def __init__(
        self, data_dir: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.log_path = data_dir.parent / f"{data_dir.name}.log"
        self.grpc = ""
        self.admin = ""
        self._ports = ("0", "0")
        self._options = options
        self._environment = clean_environment(
            {"LABELCAST_DECODER_THREADS": "1"} | dict(environment or {})
        )
        self._process: subprocess.Popen[str] | None = None
        self._started: set[psutil.Process] = set()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def launch(self) -> None:
        """Start, without waiting for anything."""
        ports = ("--grpc-port", self._ports[0], "--admin-port", self._ports[1])
        with self.log_path.open("a") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "serve", "--json", *ports, "--data-dir", self.data_dir, *self._options],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def start(self) -> None:
        """Start and wait until it serves; after a stop, on the same ports again."""
        self.launch()
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], _START_SECONDS)
        line = self.process.stdout.readline() if readable else ""
        if not line:
            self.kill()
            raise AssertionError(f"the service did not start:\n{self.log()}")
        found = json.loads(line)
        self.grpc, self.admin = found["grpc"], found["admin"]
        self._ports = (self.grpc.rpartition(":")[2], self.admin.rpartition(":")[2])

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self._remember()
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        status = self.process.wait(_STOP_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def kill(self) -> list[psutil.Process]:
        """SIGKILL of the supervisor alone; what it leaves behind."""
        left = self._remember()
        self.process.kill()
        self.wait()
        return left

    def kill_all(self) -> None:
        """SIGKILL to every process: the whole machine, as it were."""
        for process in self.kill():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def processes_left(self) -> list[psutil.Process]:
        """Processes ever seen below a supervisor that are still alive."""
        return [process for process in self._started if is_alive(process)]

    def processes_left_but_redis(self) -> list[psutil.Process]:
        """The same, without the Redis that a killed supervisor leaves to the next start."""
        return [each for each in self.processes_left() if _name(each) not in _SERVERS]

    def clean_up(self) -> None:
        """End whatever still runs, however the test went."""
        if self._process is not None and self._process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        if self._process is not None and self._process.stdout is not None:
            self._process.stdout.close()
        for process in self._started:
            # psutil compares start times, so a process ID that was given anew is left alone.
            with contextlib.suppress(psutil.Error):
                process.kill()

    def token(self) -> str:
        return (self.data_dir / "admin.token").read_text().strip()

    def registry(self, **options: Any) -> Registry:
        return Registry(self.admin, self.token(), **options)

    def admin_answers(self) -> bool:
        """Whether the registry lists its label sets, over REST."""
        with contextlib.suppress(LabelcastError), self.registry() as registry:
            registry.list()
            return True
        return False

    def push(self, label_set: LabelSetDirectory, tag: str) -> str:
        with self.registry() as registry:
            return registry.push(label_set, tag).digest

    def client(self, **options: Any) -> LabelClient:
        return LabelClient(self.grpc, **options)

    def async_client(self, **options: Any) -> AsyncLabelClient:
        return AsyncLabelClient(self.grpc, **options)

    def raw_redis(self) -> Redis:
        """The embedded Redis behind the service's back."""
        return Redis(unix_socket_path=str(self.data_dir / "redis.sock"))

    def log(self) -> str:
        return self.log_path.read_text()

    def processes(self) -> Processes:
        """Who is who, once everyone listens: one that was killed is a while in coming back."""
        found: list[Processes] = []

        def all_listen() -> bool:
            found[:] = self._listeners()
            return bool(found)

        eventually(all_listen, "decoder, workers and admin API listen")
        return found[0]

    def _listeners(self) -> list[Processes]:
        # Spawned Pythons look alike, so by what they listen on.
        supervisor = psutil.Process(self.process.pid)
        everyone = self._remember()
        listening = {process: _listens_on(process) for process in everyone}

        def that_listen_on(name: str) -> list[psutil.Process]:
            return [process for process, on in listening.items() if name in on]

        decoders, admins = that_listen_on("decoder-0.sock"), that_listen_on(self._ports[1])
        workers = that_listen_on(self._ports[0])
        redis = [process for process in everyone if _name(process) in _SERVERS]
        return [
            Processes(supervisor, decoder, workers, admin, redis[0] if redis else None, everyone)
            for decoder, admin in zip(decoders, admins, strict=False)
            if workers
        ]

    def _remember(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            found = psutil.Process(self.process.pid).children(recursive=True)
            self._started.update(found)
            return found
        return []


@contextlib.contextmanager
def running_service(
    directory: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningService]:
    """A service that has started; its log must be free of tracebacks and secrets at the end."""
    service = RunningService(directory / "data", *options, environment=environment)
    try:
        service.start()
        yield service
    finally:
        service.clean_up()
    log = service.log()
    assert "Traceback" not in log, log
    assert service.token() not in log


def _listens_on(process: psutil.Process) -> set[str]:
    found: set[str] = set()
    with contextlib.suppress(psutil.Error):
        for connection in process.net_connections("all"):
            if isinstance(connection.laddr, str):
                if connection.laddr:
                    found.add(Path(connection.laddr).name)
            elif connection.status == psutil.CONN_LISTEN:
                found.add(str(connection.laddr.port))
    return found


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""
