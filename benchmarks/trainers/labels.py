"""Where a loop's labels come from: memory, or a service."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks.trainers.settings import Settings
from labelcast import LabelClient, LabelReader, Views


class LoopLabels(Protocol):
    """What a loop asks for labels; can be sent to a worker before it is first asked."""

    first_label_seconds: float

    @property
    def wire_bytes(self) -> int:
        """Bytes that this process has sent and received."""

    def __call__(self, views: Views) -> Tensor:
        """Labels of one batch, asked for now: float, shape (N, C)."""

    def over(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """Labels of many batches, asked for ahead where that is possible."""


class InMemory:
    """Labels in an array that this process holds.

    Args:
        path: float16, shape (epochs · samples, C).
        samples: rows of an epoch.
    """

    wire_bytes = 0

    def __init__(self, path: Path, samples: int) -> None:
        began = time.perf_counter()
        self._rows = torch.from_numpy(np.load(path))
        self._samples = samples
        self.first_label_seconds = time.perf_counter() - began

    def __call__(self, views: Views) -> Tensor:
        """See `LoopLabels`."""
        rows = views.seeds.astype(np.int64) * self._samples + views.sample_ids.astype(np.int64)
        return self._rows[torch.from_numpy(rows)].float()

    def over(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """See `LoopLabels`."""
        return map(self, batches)


class Served:
    """Codes from a service, decoded in the process that asks.

    Args:
        client: client of the service.
        tag: tag of the label set.
    """

    def __init__(self, client: LabelClient, tag: str) -> None:
        self._client, self._tag = client, tag
        self._reader: LabelReader | None = None
        self.first_label_seconds = 0.0

    @property
    def wire_bytes(self) -> int:
        """See `LoopLabels`."""
        return self._client.wire_bytes.total

    def __call__(self, views: Views) -> Tensor:
        """See `LoopLabels`."""
        return next(self.over([views]))

    def over(self, batches: Iterable[Views]) -> Iterator[Tensor]:
        """See `LoopLabels`."""
        began = time.perf_counter()
        if self._reader is None:
            self._reader = self._client.open(self._tag).reader(device="cpu", policy=None)
        for labels in self._reader.over(batches):
            self.first_label_seconds = self.first_label_seconds or time.perf_counter() - began
            yield labels


def labels_of(settings: Settings) -> LoopLabels:
    """The labels that a process was told to train on."""
    if settings.array is not None:
        return InMemory(Path(settings.array), settings.samples)
    client = LabelClient(
        settings.address,
        cache_directory=settings.cache,
        fetch_shards="never" if settings.cache is None else "always",
    )
    return Served(client, settings.tag)
