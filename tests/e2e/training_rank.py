"""One rank of a training run, as its users write it; for a process of its own.

Writes what it was given to a log, one line a step, and rank 0 a checkpoint every few steps.
"""

import json
import os
import signal
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from labelcast import UNCHECKED, LabelClient, Representation
from labelcast.errors import InvalidRequestError
from labelcast.torch import LabelSetSource, SoftLabelLoader, soft_label_loss
from labelcast.torch.data.ranks import agreed_ranks

CHANNELS, SIDE = 1, 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A run, and how it ends.

    Attributes:
        directory: of logs and the checkpoint.
        name: of this part of the run, which its logs bear.
        address: of the service.
        tag: of the label set.
        first_and_step: the first sample ID, and how far apart they are.
        num_samples: samples.
        class_names: names of the classes.
        seeds: of the epochs.
        batch_size: of each rank.
        num_ranks: ranks.
        save_every: steps between checkpoints.
        die_at: step at which the last rank kills itself; None to finish.
        wait_at: step that lasts until `go_on` exists, on every rank; None for no such step.
        rows_in_flight: labels that each rank has asked for ahead; None for the default.
    """

    directory: str
    name: str
    address: str
    tag: str
    first_and_step: tuple[int, int]
    num_samples: int
    class_names: list[str]
    seeds: list[int]
    batch_size: int
    num_ranks: int
    save_every: int = 4
    die_at: int | None = None
    wait_at: int | None = None
    rows_in_flight: int | None = None

    @property
    def checkpoint(self) -> Path:
        """What rank 0 writes."""
        return Path(self.directory) / "checkpoint.pt"

    @property
    def go_on(self) -> Path:
        """What a waiting step waits for."""
        return Path(self.directory) / "go-on"

    def log(self, rank: int) -> Path:
        """What a rank was given."""
        return Path(self.directory) / f"{self.name}-{rank}.jsonl"


class Images(Dataset[tuple[Tensor, int]]):
    """Images of the label set's samples."""

    def __init__(self, sample_ids: NDArray[np.uint64], class_names: list[str]) -> None:
        self.sample_ids = sample_ids
        self.class_names = class_names

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((CHANNELS, SIDE, SIDE), index / len(self)), index % len(self.class_names)


def train(settings: Settings, rank: int) -> None:
    first, step = settings.first_and_step
    ids = first + step * np.arange(settings.num_samples, dtype=np.uint64)
    client = LabelClient(settings.address, rows_in_flight=settings.rows_in_flight)
    label_set = client.open(settings.tag)
    source = LabelSetSource(label_set, Representation.codes())
    loader = SoftLabelLoader(
        Images(ids, settings.class_names),
        source,
        seeds=settings.seeds,
        batch_size=settings.batch_size,
        rank=rank,
        num_ranks=settings.num_ranks,
        fingerprints=UNCHECKED,
    )
    policy: Any = label_set.contract.policy
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(len(settings.class_names)))
    network(torch.zeros(1, CHANNELS, policy.view_height, policy.view_width))
    if settings.checkpoint.exists():
        kept = torch.load(settings.checkpoint, weights_only=True)
        network.load_state_dict(kept["network"])
        loader.load_state_dict(kept["loader"])
    student = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-9)
    with settings.log(rank).open("w") as log:
        for number, batch in enumerate(loader):
            given = {
                "state_before": [batch.position.epoch, batch.position.row * settings.num_ranks],
                "sample_ids": batch.views.sample_ids.tolist(),
                "seeds": batch.views.seeds.tolist(),
                "repeated": batch.repeated.tolist(),
                "labels": batch.labels.tolist(),
            }
            log.write(json.dumps(given) + "\n")
            log.flush()
            if number == settings.die_at and rank == settings.num_ranks - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            while number == settings.wait_at and not settings.go_on.exists():
                time.sleep(0.02)
            loss = soft_label_loss(
                student(batch.images), batch.labels, source.label_kind, temperature=1.0
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if rank == 0 and (number + 1) % settings.save_every == 0:
                state = {"network": network.state_dict(), "loader": loader.state_dict()}
                torch.save(state, settings.checkpoint.with_suffix(".new"))
                settings.checkpoint.with_suffix(".new").replace(settings.checkpoint)


def train_as(settings: Settings, rank: int) -> None:
    """What the process of a rank does."""
    torch.set_num_threads(1)
    _meet(Path(settings.directory) / f"{settings.name}.init", rank, settings.num_ranks)
    train(settings, rank)
    dist.destroy_process_group()


def ask_ranks(meeting: Path, own: int) -> None:
    """Print what becomes of right and wrong ranks where torch knows that there are two."""
    _meet(meeting, own, 2)
    for given in ((None, None), (1 - own, 2), (own, 2), (0, 1), (2, 4)):
        try:
            print(agreed_ranks(*given))
        except InvalidRequestError as error:
            print(error)
    # One that leaves while the other is still meeting it is taken for a crash.
    dist.barrier()
    dist.destroy_process_group()


def _meet(at: Path, rank: int, count: int) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo",
        init_method=f"file://{at}",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=120),
    )
