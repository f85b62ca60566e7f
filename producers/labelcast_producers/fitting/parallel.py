"""Several processes that share one fit, as `torchrun` starts them.

Every worker computes a share of each step's batch; sums over the workers then give each of them
the result of one process, up to the order of summation, so that all hold the same weights and
codebooks without ever sending them. All workers see the same files, and the first of them writes
them.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from labelcast.errors import InvalidRequestError, NetworkError
from labelcast.torch.device import choose_device
from labelcast_producers.fitting.sampling import RowNumbers

# Longer than the first worker needs to measure a finished fit while the others wait.
_TIMEOUT = timedelta(minutes=10)
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes of a fit, seen from one of them; alone, every method returns at once.

    Methods that mention all workers must be called by all of them, in the same order.

    Attributes:
        rank: number of this worker.
        size: number of workers.
        local_rank: number of this worker on its machine, and of its GPU.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this worker writes files and talks to people."""
        return self.rank == 0

    def choose_device(self, name: str) -> torch.device:
        """Like `neural.device.choose_device`; on GPUs, each worker of a machine takes its own.

        Raises:
            InvalidRequestError: this machine has no such device.
        """
        device = choose_device(name)
        if self.size > 1 and device.type == "cuda" and device.index is None:
            device = choose_device(f"cuda:{self.local_rank}")
            torch.cuda.set_device(device)
        return device

    def share(self, rows: RowNumbers) -> RowNumbers:
        """This worker's part of `rows`; the parts of all workers, by rank, make up `rows`."""
        return rows[self._slice(len(rows))]

    def placed(self, part: Tensor, count: int) -> Tensor:
        """Put this worker's share among zeros, so that `sum_` combines all shares.

        Args:
            part: shape (rows of `share`, …).
            count: number of rows in all shares together.

        Returns:
            Shape (count, …); without gradient.
        """
        if self.size == 1:
            return part.detach()
        whole = part.new_zeros((count, *part.shape[1:]))
        whole[self._slice(count)] = part.detach()
        return whole

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all workers, the same bits on each.

        Args:
            tensors: tensors of the same shapes on every worker, on one device; sent in the widest
                of their types, so integers beside float32 must be below 2**24.

        Raises:
            NetworkError: another worker has gone.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _peers_needed():
            dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on any worker.

        Raises:
            NetworkError: another worker has gone.
        """
        if self.size == 1:
            return flag
        # On the CPU: reading it back stalls no GPU.
        flags = torch.tensor(int(flag))
        with _peers_needed():
            dist.all_reduce(flags, dist.ReduceOp.MAX)
        return bool(flags.item())

    def wait(self) -> None:
        """Wait until all workers have come here.

        Raises:
            NetworkError: another worker has gone.
        """
        self.any(False)

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replace the tensors of all workers by those of the first.

        Raises:
            NetworkError: another worker has gone.
        """
        if self.size == 1:
            return
        with _peers_needed():
            for tensor in tensors:
                dist.broadcast(tensor, src=0)

    def _slice(self, count: int) -> slice:
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)


ALONE = Workers()


def started_worker() -> Workers:
    """Which of the processes that `torchrun` has started this one is; without it, `ALONE`.

    Raises:
        InvalidRequestError: some of torchrun's variables are missing or malformed.
    """
    if "WORLD_SIZE" not in os.environ:
        return ALONE
    try:
        rank, size, local_rank = (int(os.environ[name]) for name in _VARIABLES)
    except (KeyError, ValueError):
        raise InvalidRequestError(
            f"WORLD_SIZE is set, but {', '.join(_VARIABLES)} are not all integers; start with"
            " torchrun, or unset it"
        ) from None
    return Workers(rank, size, local_rank)


@contextmanager
def joined_workers() -> Iterator[Workers]:
    """Meet the other processes that `torchrun` has started; without it, there are none.

    Raises:
        InvalidRequestError: some of torchrun's variables are missing or malformed.
        NetworkError: the other workers do not answer.
    """
    workers = started_worker()
    if workers.size == 1:
        yield ALONE
        return
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=_TIMEOUT)
    except (RuntimeError, ValueError) as error:
        raise NetworkError(f"cannot meet the other workers: {_first_line(error)}") from None
    try:
        yield workers
        # Nobody may take the group down while others are still about to use it.
        workers.wait()
    finally:
        dist.destroy_process_group()


@contextmanager
def _peers_needed() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise NetworkError(
            f"another worker has gone ({_first_line(error)}); its message says why"
        ) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
