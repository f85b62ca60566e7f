"""Processes that have torch from their start on: forked from one that imports it once for all."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
# A process that imports these itself takes seconds.
_CONTEXT.set_forkserver_preload(
    [
        "torch.distributed.launcher.api",
        # An optimizer imports it at its first step.
        "torch._dynamo",
        "labelcast.remote.client",
        "labelcast.torch",
        "labelcast_producers.fitting",
        "labelcast_producers.relabel.relabeller",
        "labelcast_producers.relabel.language.relabeller",
        "labelcast_producers.relabel.language.teachers.model",
    ]
)


class WarmProcess:
    """A function at work in a process of its own, which may be killed.

    Args:
        function: what it runs; of a module, so that the process finds it.
        arguments: its arguments.
        directory: for what it prints.
    """

    def __init__(
        self, function: Callable[..., object], arguments: tuple[Any, ...], directory: Path
    ) -> None:
        self._printed = directory / "stdout", directory / "stderr"
        self._process = _CONTEXT.Process(target=_run, args=(function, arguments, self._printed))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status, of a signal less than 0; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float) -> int:
        """Its exit status, once it has ended."""
        self._process.join(seconds)
        assert self.returncode is not None, f"still running after {seconds} s"
        return self.returncode

    def output(self, seconds: float) -> tuple[str, str]:
        """What it has printed and what of errors, once it has ended."""
        self.wait(seconds)
        stdout, stderr = self._printed
        return stdout.read_text(), stderr.read_text()

    def wait_until(self, holds: Callable[[], object], seconds: float = 90) -> None:
        """Wait for something that it does before it ends."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.returncode is None, f"it has ended: {self.output(0)[1]}"
            assert time.monotonic() < deadline, f"not yet after {seconds} s"
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        self._process.join()


@contextmanager
def warm_process(function: Callable[..., object], *arguments: Any) -> Iterator[WarmProcess]:
    """A function in a process of its own, killed if it is left running."""
    with TemporaryDirectory() as directory:
        process = WarmProcess(function, arguments, Path(directory))
        try:
            yield process
        finally:
            process.kill()


def _run(
    function: Callable[..., object], arguments: tuple[Any, ...], printed: tuple[Path, Path]
) -> None:
    for descriptor, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
    function(*arguments)
