"""One student of a point: the loop of `labelcast_glyphs.student`, on labels in memory.

Order, initial weights and views are those of that loop. Two things make it a third faster: views
come rendered from a file, and AdamW's update is fused.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.codec.points import Supervision
from benchmarks.codec.task import Task
from labelcast.canary import shown_classes
from labelcast.codec import LabelKind
from labelcast.torch import SoftLabelLoader, mixed_hard_loss, soft_label_loss
from labelcast.torch.images.render_seeded import ViewRenderer
from labelcast.views import Views
from labelcast_glyphs.dataset import GlyphDataset
from labelcast_glyphs.evaluation import top1_accuracy
from labelcast_glyphs.networks import student_network
from labelcast_glyphs.student import TEMPERATURE, StudentSettings

_HARD = (Supervision.HARD_MIXED, Supervision.HARD_UNMIXED)


def train(
    task: Task, supervision: Supervision, labels: Path | None, kind: LabelKind, *, seed: int
) -> dict[str, Any]:
    """Train a student and test it on the held-out faces.

    Args:
        task: prepared.
        supervision: what it learns from.
        labels: `.npy` of all rows, for soft labels.
        kind: of those labels.
        seed: of order and initial weights.

    Returns:
        seed, top1 (share in [0, 1]) and the seconds of the loop.
    """
    settings = StudentSettings(epochs=task.protocol.views, seed=seed)
    batches = _Batches(task, supervision, labels, settings)
    torch.manual_seed(seed)
    network = student_network(task.protocol.num_classes).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=settings.peak_learning_rate,
        total_steps=len(batches),
        cycle_momentum=False,
    )
    began = time.perf_counter()
    for views, images, targets in batches:
        logits = network(images)
        if targets is None:
            shown, area = batches.mixture(views)
            loss = mixed_hard_loss(logits, shown, area, label_smoothing=settings.label_smoothing)
        else:
            loss = soft_label_loss(logits, targets, kind, temperature=TEMPERATURE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - began
    top1 = top1_accuracy(network, GlyphDataset("held_out", task.protocol.num_classes))
    return {"seed": seed, "top1": top1, "seconds": round(seconds, 2)}


class _Batches:
    """Views, pixels and soft labels in a student's order."""

    def __init__(
        self, task: Task, supervision: Supervision, labels: Path | None, settings: StudentSettings
    ) -> None:
        mixed = supervision is not Supervision.HARD_UNMIXED
        self._task = task
        self._policy = task.policy(mixed=mixed)
        # Asked for its plan alone, so that the order is the library's own.
        self._loader = SoftLabelLoader(
            task.distilled,
            None,
            policy=self._policy,
            seeds=range(settings.epochs),
            batch_size=settings.batch_size,
            order_key=settings.seed,
        )
        self._images = task.views(mixed=mixed)
        self._renderer = ViewRenderer(self._policy, task.dense.index.sample_ids)
        self._labels: NDArray[Any] | None = None
        if supervision not in _HARD:
            if labels is None:
                raise ValueError(f"{supervision} needs labels")
            stored = np.load(labels, mmap_mode="r")
            self._labels = stored.reshape(-1, stored.shape[-1])

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[tuple[Views, Tensor, Tensor | None]]:
        for planned in self._loader.plan:
            views = planned.views
            _, rows = self._task.index.locate(views)
            images = torch.from_numpy(self._images[rows]).float()
            soft = None if self._labels is None else torch.from_numpy(self._labels[rows])
            yield views, images, soft

    def mixture(self, views: Views) -> tuple[Tensor, Tensor]:
        """Hard labels of sample and partner (2, N), and the partner's area (N,)."""
        hard = self._task.distilled.hard_labels
        shown = shown_classes(views, self._policy, self._task.dense.index.sample_ids, hard)
        return torch.from_numpy(shown), torch.from_numpy(self._renderer.mixed_area(views))
