"""One process of a training run.

    python -m benchmarks.trainers.job SETTINGS

Tells at its end, in a line of JSON, what its epochs cost; see `Told`.
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from benchmarks.trainers.labels import LoopLabels, labels_of
from benchmarks.trainers.settings import Loop, Settings, Told
from benchmarks.trainers.student import images, student
from labelcast import Views
from labelcast.codec import LabelKind
from labelcast.torch import TrainingPlan, soft_label_loss

_WORKERS = 2
_CLASSES = 1000
# Of a worker's message: images, labels, the process, and the bytes that it has moved.
Item = tuple[Tensor, Tensor, int, int]


class Batches(Dataset[Item]):
    """Whole batches, whose labels the worker asks for that reads their images.

    Args:
        pixels: all images.
        labels: where labels come from.
    """

    def __init__(self, pixels: Tensor, labels: LoopLabels) -> None:
        self._pixels, self._labels = pixels, labels

    def __getitem__(self, views: Views) -> Item:
        found = self._labels(views)
        pixels = self._pixels[torch.from_numpy(views.sample_ids.astype("int64"))]
        return pixels, found, psutil.Process().pid, self._labels.wire_bytes


class Batched:
    """Views of each batch of an epoch, as the DataLoader's sampler.

    Args:
        plan: whole run.
    """

    def __init__(self, plan: TrainingPlan) -> None:
        self.plan, self.epoch = plan, plan.start.epoch

    def __len__(self) -> int:
        return len(self.plan.epoch(self.epoch))

    def __iter__(self) -> Iterator[Views]:
        return (planned.views for planned in self.plan.epoch(self.epoch))


class Epochs:
    """Images and labels of each epoch, and what they have moved over the network.

    Args:
        settings: of the process.
        plan: whole run.
    """

    def __init__(self, settings: Settings, plan: TrainingPlan) -> None:
        self._plan = plan
        self._pixels = images(settings.samples)
        self.labels = labels_of(settings)
        self._moved: dict[int, int] = {}
        self._sampler = Batched(plan)
        self._loader: DataLoader[Item] | None = None
        if settings.loop is Loop.WORKERS:
            self._loader = DataLoader(
                Batches(self._pixels, self.labels),
                batch_size=None,
                sampler=self._sampler,
                num_workers=_WORKERS,
                persistent_workers=True,
                multiprocessing_context="forkserver",
            )

    @property
    def wire_bytes(self) -> int:
        """Bytes of this process and its workers."""
        return self.labels.wire_bytes + sum(self._moved.values())

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels of one epoch."""
        if self._loader is not None:
            self._sampler.epoch = number
            for pixels, found, process, moved in self._loader:
                self._moved[process] = moved
                yield pixels, found
            return
        part = self._plan.epoch(number)
        for planned, found in zip(part, self.labels.over(part.batches), strict=True):
            yield self._pixels[torch.from_numpy(planned.views.sample_ids.astype("int64"))], found


def train(settings: Settings) -> Told:
    """Train through all epochs."""
    torch.manual_seed(0)
    plan = TrainingPlan(
        torch.arange(settings.samples).numpy().astype("uint64"),
        range(settings.epochs),
        batch_size=settings.batch_size,
        rank=settings.rank,
        num_ranks=settings.num_ranks,
    )
    if settings.state is not None:
        plan = plan.resumed(settings.state)
    network: nn.Module = student(_CLASSES)
    if settings.num_ranks > 1:
        network = DistributedDataParallel(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    epochs = Epochs(settings, plan)
    told = Told(first_label_seconds=0, steps=0, seconds=[], cpu_seconds=[], wire_bytes=[])
    steps, moved = 0, 0
    for number in range(plan.start.epoch, settings.epochs):
        began, cpu, steps = time.perf_counter(), _cpu_seconds(), 0
        for pixels, labels in epochs.epoch(number):
            loss = soft_label_loss(network(pixels), labels, LabelKind.LOGITS, temperature=4.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
        told.seconds.append(time.perf_counter() - began)
        told.cpu_seconds.append(_cpu_seconds() - cpu)
        told.wire_bytes.append(epochs.wire_bytes - moved)
        moved = epochs.wire_bytes
    first = epochs.labels.first_label_seconds
    return Told(**asdict(told) | {"first_label_seconds": first, "steps": steps})


def _cpu_seconds() -> float:
    """Of this process and its workers."""
    own = psutil.Process()
    found = 0.0
    for process in [own, *own.children(recursive=True)]:
        times = process.cpu_times()
        found += times.user + times.system
    return found


def main() -> None:
    """Join the other ranks, train, and tell."""
    settings = Settings.from_json(sys.argv[1])
    torch.set_num_threads(1)
    if settings.num_ranks > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{settings.meeting}",
            rank=settings.rank,
            world_size=settings.num_ranks,
            timeout=timedelta(minutes=5),
        )
    told: dict[str, Any] = asdict(train(settings))
    sys.stdout.write(json.dumps(told) + "\n")
    if settings.num_ranks > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
