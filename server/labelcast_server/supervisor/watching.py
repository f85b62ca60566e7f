"""Watches processes: restarts dead ones, kills hanging ones."""

import logging
import threading
import time
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess

from labelcast.errors import LabelcastError
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.supervisor.plan import ProcessPlan
from labelcast_server.supervisor.process import run_process
from labelcast_server.supervisor.pulse import Pulse
from labelcast_server.supervisor.restarts import Restarts, soon
from labelcast_server.supervisor.roles import Role
from labelcast_server.telemetry.exposition import forget_process

logger = logging.getLogger("labelcast_server.supervisor")

# Twenty beats. A busy machine delays a process by moments, not by this much.
HANGS_AFTER_SECONDS = 10.0
_START_SECONDS = 120.0
# A supervisor this late was stopped or starved itself, and cannot judge the others.
_LATE_SECONDS = 2.0


class Grace:
    """The start of the time in which silence counts: after the supervisor itself was last late."""

    def __init__(self) -> None:
        self._looked = self.since = time.monotonic()

    def look(self, now: float) -> None:
        """Call at every round of the supervisor."""
        if now - self._looked > _LATE_SECONDS:
            self.since = now
        self._looked = now


class WatchedProcess:
    """One process of the service; every method returns at once.

    Args:
        role: role of the process.
        plan: configuration.
        spawn: context that starts it.
    """

    def __init__(self, role: Role, plan: ProcessPlan, spawn: SpawnContext) -> None:
        self.role = role
        self._plan = plan
        self._spawn = spawn
        self._process: BaseProcess | None = None
        self._pulse = Pulse(spawn)
        self._restarts = Restarts()
        self._started_at = 0.0
        self._start_at: float | None = None

    @property
    def name(self) -> str:
        """Name of its role."""
        return self.role.name

    @property
    def is_ready(self) -> bool:
        """Whether it serves, or has served since its last start."""
        return self._pulse.last > 0

    @property
    def is_alive(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.is_alive()

    def start(self) -> None:
        """Start the process."""
        # Kept, with its pulse: if it were collected here before the process has started up, the
        # memory that they share would be gone.
        self._pulse = Pulse(self._spawn)
        self._process = self._spawn.Process(
            target=run_process, args=(self.role.main, self._plan, self._pulse), name=self.name
        )
        self._process.start()
        self._started_at, self._start_at = time.monotonic(), None

    def look(self, now: float, grace: Grace) -> None:
        """Restart it if it is dead and its pause is over; kill it if it hangs."""
        if self._start_at is not None:
            if now >= self._start_at:
                self._start_again(now)
        elif not self.is_alive:
            self._bury(now)
        elif self._silent_seconds(now, grace) > self._patience():
            self._kill_hanging()

    def terminate(self) -> None:
        """Ask it to end; it is not restarted."""
        if self._process is not None:
            self._process.terminate()

    def join(self, seconds: float) -> None:
        """Wait until it has ended; kill it after `seconds`."""
        if self._process is None:
            return
        self._process.join(seconds)
        if self._process.is_alive():
            logger.error("%s did not stop in time; killing it", self.name)
            self._process.kill()
            self._process.join()

    def _start_again(self, now: float) -> None:
        try:
            self.start()
        except OSError as error:
            pause = self._restarts.pause_after(0)
            logger.error("%s cannot be started (%s); next try %s", self.name, error, soon(pause))  # noqa: TRY400
            self._start_at = now + pause

    def _bury(self, now: float) -> None:
        status = None if self._process is None else self._process.exitcode
        if self._process is not None and self._process.pid is not None:
            forget_process(self._plan.metrics_directory, self._process.pid)
        pause = self._restarts.pause_after(now - self._started_at)
        logger.error("%s ended (status %s); it restarts %s", self.name, status, soon(pause))
        self._start_at = now + pause

    def _patience(self) -> float:
        return HANGS_AFTER_SECONDS if self.is_ready else _START_SECONDS

    def _silent_seconds(self, now: float, grace: Grace) -> float:
        return now - max(self._pulse.last, self._started_at, grace.since)

    def _kill_hanging(self) -> None:
        logger.error(
            "%s hangs: no sign of life for %.0f s; killing it",
            self.name,
            self._patience(),
        )
        if self._process is not None:
            self._process.kill()
            # Killed once: one of the next rounds finds it dead.
            self._process.join(1.0)


class WatchedRedis:
    """The embedded Redis once it was started; restarting takes time, so it runs in a thread.

    Args:
        redis: a started Redis.
    """

    name = "redis"

    def __init__(self, redis: EmbeddedRedis) -> None:
        self._redis = redis
        self._restarts = Restarts()
        self._started_at = time.monotonic()
        self._start_at: float | None = None
        self._starting: threading.Thread | None = None

    def look(self, now: float, _: Grace) -> None:
        """Restart it if it is dead and its pause is over."""
        if self._starting is not None and self._starting.is_alive():
            return
        if self._start_at is None:
            if not self._redis.is_running():
                pause = self._restarts.pause_after(now - self._started_at)
                logger.error("%s ended; it restarts %s", self.name, soon(pause))
                self._start_at = now + pause
        elif now >= self._start_at:
            self._start_at, self._started_at = None, now
            self._starting = threading.Thread(target=self._start, name="start-redis")
            self._starting.start()

    def settle(self) -> None:
        """Wait for a restart that is under way."""
        if self._starting is not None:
            self._starting.join()

    def _start(self) -> None:
        try:
            self._redis.start()
        except (LabelcastError, OSError) as error:
            # A full disk, say: the rest of the service keeps working without it.
            logger.error("%s", error)  # noqa: TRY400 - one line says it all
