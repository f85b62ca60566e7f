"""Blocks of labels encoded on all cores, in their order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")


def map_in_threads(
    work: Callable[[Given], Made], items: Iterable[Given]
) -> Generator[Made, None, None]:
    """Results of `work` in the order of `items`, each computed by one thread of one core.

    There are as many threads as torch may use (`OMP_NUM_THREADS`, else one for each core). torch
    splits large products alone over its cores, and rounds them differently by their number; whole
    blocks keep all cores busy, and come out the same on any number of them.

    Args:
        work: called in the threads.
        items: read in the caller's thread, one item ahead of the threads.

    Raises:
        Exception: whatever `items` or `work` raises, `work` in the order of its items.
    """
    threads = torch.get_num_threads()
    with _each_on_one_core(threads) as executor:
        running: deque[Future[Made]] = deque()
        for item in items:
            running.append(executor.submit(work, item))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


@contextmanager
def _each_on_one_core(threads: int) -> Iterator[ThreadPoolExecutor]:
    executor = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield executor
    finally:
        # After an error or Ctrl-C, blocks that have not begun are not wanted any more.
        executor.shutdown(cancel_futures=True)
        # Threads that begin later take the number that was set last, by whichever thread.
        torch.set_num_threads(threads)
