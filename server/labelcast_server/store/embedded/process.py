"""`EmbeddedRedis`: a private, real Valkey or Redis whose data live in our own directory."""

import errno
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import quote

import psutil

from labelcast.errors import (
    BusyError,
    StorageError,
    StoreFullError,
    StoreUnavailableError,
)
from labelcast_server.store.disk import Disk
from labelcast_server.store.embedded import client as embedded_client
from labelcast_server.store.embedded.config import (
    config_text,
    default_max_memory_bytes,
    socket_in,
)
from labelcast_server.store.embedded.conversion import Conversion, writer_of
from labelcast_server.store.embedded.data_dir_lock import DataDirLock
from labelcast_server.store.embedded.data_files import server_directory
from labelcast_server.store.embedded.executable import ServerExecutable, find_server
from labelcast_server.store.embedded.release import ServerRelease

_log = logging.getLogger(__name__)

# sockaddr_un holds 108 bytes with the closing NUL on Linux, 104 on macOS.
_LONGEST_SOCKET_PATH = 103
_STARTUP_POLL_SECONDS = 0.02
_PROGRESS_EVERY_SECONDS = 5.0
_KILL_TIMEOUT_SECONDS = 10.0
# For redis.conf, pid files and locks; Redis itself loads without writing.
_ROOM_TO_START_BYTES = 2**20

_T = TypeVar("_T")


class EmbeddedRedis:
    """Runs a server on a Unix socket, its append-only file in `<data_dir>/redis`.

    Both kinds of server are called Redis here, after the protocol.

    Rules:
      * the directory is locked before anything in it is touched, and until `stop`;
      * only a server that can open the data is started on them, and if it is another one than
          before, a copy is kept until it has opened them;
      * Redis runs in its own session, so a Ctrl-C in the terminal does not reach it: the process
          that started it stops it, after everything that needs it;
        * a Redis whose owner was killed is ended before a new one starts, never shared: its
          configuration may be an older version's;
      * only the process that called `start` can stop it: in a forked child `stop` does nothing.

    Not safe for use from several threads at once.

    Args:
        data_dir: data directory; created if missing.
        max_memory_bytes: value of maxmemory; by default seven eighths of the memory.
        disk_reserve_bytes: disk space to keep free; by default as in `Disk.of`.
        start_timeout_seconds: time for Redis to answer, and then for each step of its loading.
        stop_timeout_seconds: time for Redis to end by itself before it is terminated.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        max_memory_bytes: int | None = None,
        disk_reserve_bytes: int | None = None,
        start_timeout_seconds: float = 60.0,
        stop_timeout_seconds: float = 60.0,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._directory = server_directory(self._data_dir)
        self._lock = DataDirLock(self._data_dir)
        self._conversion = Conversion(self._directory)
        self._max_memory_bytes = max_memory_bytes
        self._disk_reserve_bytes = disk_reserve_bytes
        self._start_timeout_seconds = start_timeout_seconds
        self._stop_timeout_seconds = stop_timeout_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._executable: ServerExecutable | None = None
        self._socket: Path | None = None
        self._owner_pid = os.getpid()

    @property
    def url(self) -> str:
        """Store URL of the running Redis."""
        return f"unix://{quote(str(_started(self._socket)))}"

    @property
    def pid(self) -> int:
        """Process ID of the running Redis."""
        return _started(self._process).pid

    @property
    def executable(self) -> Path:
        """The server program in use."""
        return _started(self._executable).path

    @property
    def release(self) -> ServerRelease:
        """Its kind and version."""
        return _started(self._executable).release

    @property
    def disk(self) -> Disk:
        """The disk that it writes to; the directory exists once Redis was started."""
        return Disk.of(self._directory, self._disk_reserve_bytes)

    def is_running(self) -> bool:
        """Whether the Redis that `start` started is still alive."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start Redis and return when it has loaded its data; restart it if it died.

        Raises:
            BusyError: another service uses the directory.
            StoreUnavailableError: there is no server that can open the data, or it did not come up.
            StoreFullError: the disk has no room even to start, or for a copy of the data.
        """
        if self.is_running():
            return
        self._lock.acquire()
        self._owner_pid = os.getpid()
        again = self._socket is not None
        try:
            self._end_leftover()
            writer = self._make_room()
            self._executable = find_server(writer)
            # Restarted after a death, it must listen on the same socket.
            self._socket = self._socket or self._choose_socket()
            if not self._socket.parent.exists():
                self._socket.parent.mkdir(mode=0o700)
            self._open_data(writer, self._executable, self._socket)
        except BaseException:
            if again:
                # The next attempt must restart it on the same socket, and nobody may use the
                # directory meanwhile.
                self._end_started()
            else:
                self.stop()
            raise

    def stop(self) -> None:
        """End Redis and free the directory; does nothing if it is stopped already."""
        if self._owner_pid != os.getpid():
            return
        self._end_started()
        if self._socket is not None:
            _remove_socket(self._socket, self._data_dir)
            self._socket = None
        self._lock.release()

    def __enter__(self) -> "EmbeddedRedis":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _make_room(self) -> ServerRelease | None:
        """Create the directory, and on a full disk free the reserve that is kept for this.

        A conversion that was killed is undone first: it may have left no directory.

        Returns:
            The server whose data are there.
        """
        try:
            self._conversion.restore()
            self._directory.mkdir(mode=0o700, exist_ok=True)
            disk = self.disk
            if disk.keep_reserve() and disk.free_bytes() < _ROOM_TO_START_BYTES:
                _log.warning("the disk is full; its reserve is given up to start Redis")
                disk.give_up_reserve()
            return writer_of(self._directory)
        except OSError as error:
            raise _no_room_to_start(self._data_dir, error) from None

    def _choose_socket(self) -> Path:
        socket = self._data_dir / "redis.sock"
        if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH:
            return socket
        directory = tempfile.mkdtemp(prefix="labelcast-")
        if len(os.fsencode(directory)) + len("/redis.sock") > _LONGEST_SOCKET_PATH:
            Path(directory).rmdir()
            directory = tempfile.mkdtemp(prefix="labelcast-", dir="/tmp")
        return Path(directory) / "redis.sock"

    def _open_data(
        self, writer: ServerRelease | None, executable: ServerExecutable, socket: Path
    ) -> None:
        """Start the server on the data, which another one may have written."""
        try:
            self._conversion.begin(writer, executable.release, self.disk)
        except OSError as error:
            raise _no_room_to_start(self._data_dir, error) from None
        try:
            self._launch(executable.path)
            self._wait_until_ready(_started(self._process), socket)
            self._conversion.finish()
        except BaseException:
            self._end_started()
            self._conversion.restore()
            raise

    def _launch(self, executable: Path) -> None:
        config = self._directory / "redis.conf"
        text = config_text(
            directory=self._directory,
            socket=_started(self._socket),
            max_memory_bytes=self._max_memory_bytes or default_max_memory_bytes(),
        )
        # A full disk takes nothing: the files that a restarted Redis needs exist already.
        if self._read(config, str) != text:
            try:
                config.write_text(text)
            except OSError as error:
                raise _no_room_to_start(self._data_dir, error) from None
        # Redis logs to standard output until it has opened its log. It gets the configuration by
        # standard input, because Redis 7 takes "?", "*" and "[" in a path for wildcards, and if
        # nothing matches it starts with its defaults, on a TCP port.
        with self._log_path.open("ab") as log, config.open("rb") as standard_input:
            self._process = subprocess.Popen(
                [executable, "-"],
                stdin=standard_input,
                stdout=log,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,
            )

    def _wait_until_ready(self, process: subprocess.Popen[bytes], socket: Path) -> None:
        deadline = time.monotonic() + self._start_timeout_seconds
        loaded, next_report = -1, time.monotonic() + _PROGRESS_EVERY_SECONDS
        while True:
            if process.poll() is not None:
                raise StoreUnavailableError(
                    f"the embedded {self._program} ended at start: {self._last_log_line()}"
                    f" (see {self._log_path})"
                )
            answer = embedded_client.ask(socket)
            now = time.monotonic()
            if answer is not None and answer.pid == process.pid:
                if answer.loaded_bytes is None:
                    return
                if answer.loaded_bytes > loaded:
                    loaded, deadline = answer.loaded_bytes, now + self._start_timeout_seconds
                if now >= next_report:
                    next_report = now + _PROGRESS_EVERY_SECONDS
                    percent = 100 * loaded // max(1, answer.total_bytes)
                    _log.info("the embedded Redis is loading its data: %d %%", percent)
            if now >= deadline:
                raise StoreUnavailableError(
                    f"the embedded {self._program} made no progress in"
                    f" {self._start_timeout_seconds:g} s: {self._last_log_line()}"
                    f" (see {self._log_path})"
                )
            time.sleep(_STARTUP_POLL_SECONDS)

    def _end_started(self) -> None:
        if self._process is not None:
            self._end_process(self._process)
            self._process = None

    def _end_process(self, process: subprocess.Popen[bytes]) -> None:
        socket = _started(self._socket)
        # Nobody answers where the data directory was deleted, and another server where it was put
        # back: waiting for an end that was not asked for takes a minute.
        answer = embedded_client.ask(socket)
        asked = answer is not None and answer.pid == process.pid
        if asked and embedded_client.request_shutdown(socket):
            try:
                process.wait(self._stop_timeout_seconds)
            except subprocess.TimeoutExpired:
                _log.warning("the embedded Redis did not end when asked to; terminating it")
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
                try:
                    process.wait(_KILL_TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    continue

    def _end_leftover(self) -> None:
        """End the Redis of an owner that died without stopping it, if there is one.

        Only called with the lock held, so nobody else can be using it on purpose.
        """
        socket = self._read(self._directory / "redis.conf", socket_in)
        if socket is None:
            return
        answer = embedded_client.ask(socket)
        if answer is not None:
            pid = answer.pid
            _log.warning("ending the Redis (process %d) that a killed service left behind", pid)
            embedded_client.request_shutdown(socket)
            ended = embedded_client.wait_for_end(pid, self._stop_timeout_seconds)
        else:
            pid = self._read(self._directory / "redis.pid", int) or 0
            ended = not self._works_here(pid)
        if not ended:
            raise BusyError(
                f"a server (process {pid}) left behind in {self._data_dir} does not end;"
                " end it and start again",
                data_dir=self._data_dir,
                pid=pid,
            )
        _remove_socket(socket, self._data_dir)
        (self._directory / "redis.pid").unlink(missing_ok=True)

    @staticmethod
    def _read(path: Path, parse: Callable[[str], _T | None]) -> _T | None:
        try:
            return parse(path.read_text())
        except (OSError, ValueError):
            return None

    def _works_here(self, pid: int) -> bool:
        """Whether a process works in our directory, as Redis does; other processes reuse IDs."""
        try:
            return pid > 0 and Path(psutil.Process(pid).cwd()).samefile(self._directory)
        except (psutil.Error, OSError):
            return False

    def _last_log_line(self) -> str:
        try:
            with self._log_path.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 4096))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return "it left no log"
        return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")

    @property
    def _program(self) -> str:
        return self.release.kind.program

    @property
    def _log_path(self) -> Path:
        return self._directory / "redis.log"


def _started(value: _T | None) -> _T:
    if value is None:
        raise StoreUnavailableError("the embedded Redis is not started")
    return value


def _no_room_to_start(data_dir: Path, error: OSError) -> StorageError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(
            f"the disk of the data directory {data_dir} is full and Redis cannot start;"
            " free some disk space and start again"
        )
    return StoreUnavailableError(
        f"the data directory {data_dir} cannot be used ({error.strerror}); choose one that you may"
        " write"
    )


def _remove_socket(socket: Path, data_dir: Path) -> None:
    socket.unlink(missing_ok=True)
    if socket.parent != data_dir and socket.parent.name.startswith("labelcast-"):
        shutil.rmtree(socket.parent, ignore_errors=True)
