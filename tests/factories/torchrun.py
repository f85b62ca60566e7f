"""Several workers of one program, as torch starts them."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psutil
import torch

from tests.anywhere import ROOT
from tests.factories.warm_process import WarmProcess, warm_process


@contextmanager
def torchrun(function: Callable[..., object], *arguments: Any) -> Iterator[WarmProcess]:
    """Two workers under torchrun's own agent, killed if the test leaves them running.

    They are forked: torchrun itself starts each as a program, of which each imports torch.

    Args:
        function: what each of them runs; of a module.
        arguments: its arguments.
    """
    with warm_process(_agent, function, arguments) as agent:
        try:
            yield agent
        finally:
            if agent.returncode is None:
                for worker in psutil.Process(agent.pid).children(recursive=True):
                    worker.kill()


@contextmanager
def torchrun_program(module: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """Two workers that run a module, started by torchrun itself."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", module, *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()


def _agent(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What --standalone --nproc-per-node=2 mean.
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="fork",
    )
    elastic_launch(config, _worker)(function, arguments)


def _worker(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    # A program of its own would not have the agent's, which ends workers.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(1)
    function(*arguments)
