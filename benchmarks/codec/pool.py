"""Worker processes of one thread each, which end with their parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from benchmarks.codec.queue import Finished, Unit, run

Work = Callable[[Unit], dict[str, Any]]


def run_in_processes(
    points: Sequence[Sequence[Unit]], work: Work, *, jobs: int, tell: Callable[[Finished], None]
) -> int:
    """Do all that is missing of some points; how many of them have failed.

    Args:
        points: units of each.
        work: does one and writes its result; pickled.
        jobs: processes.
        tell: called for each unit that has ended.

    Raises:
        OSError: a worker was killed.
        KeyboardInterrupt: what was under way is lost, what was done is not.
    """
    executor = ProcessPoolExecutor(
        jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
    )

    def submit(unit: Unit) -> "Future[dict[str, Any]]":
        return executor.submit(work, unit)

    try:
        failed = run(points, submit, jobs=jobs, tell=tell)
    except BaseException as error:
        # What is under way will be done anew; waiting for it would hold up the exit.
        for process in multiprocessing.active_children():
            process.terminate()
        executor.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise OSError("a worker was killed; is there memory for --jobs of them?") from error
        raise
    executor.shutdown()
    return failed


def _start_worker() -> None:
    import faiss
    import torch

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    # Ctrl-C reaches the whole group; the parent decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Do not outlive a parent that was killed and could not end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
