"""The loop that all students share: they differ in their labels, and in nothing else."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.imagenet.comparison import compare_student
from benchmarks.imagenet.networks import student_network
from benchmarks.imagenet.parts import Part
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.points import LABEL_SMOOTHING, Students, Supervision
from benchmarks.imagenet.steps import count_steps, planned_steps
from benchmarks.imagenet.student_views import as_input, load_views
from labelcast.augmentation import AugmentationPolicy
from labelcast.canary import shown_classes
from labelcast.codec import LabelKind
from labelcast.torch import mixed_hard_loss, soft_label_loss
from labelcast.torch.images.render_seeded import ViewRenderer
from labelcast_producers.dense.labels import DenseLabels


def train(place: Place, students: Students, teaching: "Teaching", *, seed: int) -> dict[str, Any]:
    """Train a student and compare it with the teacher on pictures that it has never seen.

    Args:
        place: prepared.
        students: its kind.
        teaching: what it learns from.
        seed: of order and initial weights.

    Returns:
        The seed, what `compare_student` says, and the seconds of the loop; JSON values.
    """
    settings, steps = place.scale.student, count_steps(place.scale)
    views = load_views(place, Part.TRAIN)
    torch.manual_seed(seed)
    network = student_network(students.architecture, settings).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), weight_decay=settings.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=settings.peak_learning_rate,
        total_steps=steps,
        cycle_momentum=False,
    )
    began = time.perf_counter()
    for step in planned_steps(students.kept, place.scale, seed=seed):
        logits = network(as_input(views[step.rows]))
        loss = teaching.loss(logits, step.rows, hard=step.hard)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.perf_counter() - began
    found = compare_student(network, place)
    return {"seed": seed, **found, "steps": steps, "seconds": round(seconds, 2)}


class Teaching:
    """The loss of a batch, from whatever a student learns from.

    Args:
        dense: the teacher's labels of what is shown.
        supervision: which labels a student gets.
        labels: `.npy` of all rows, for soft labels.
        kind: of those labels.
        temperature: of teacher and student, for soft labels.
    """

    def __init__(
        self,
        dense: DenseLabels,
        supervision: Supervision,
        labels: Path | None,
        kind: LabelKind,
        temperature: float = 1.0,
    ) -> None:
        self._smoothing = supervision.label_smoothing
        self._kind = kind
        self._temperature = temperature
        self._labels: NDArray[Any] | None = None
        if self._smoothing is None:
            if labels is None:
                raise ValueError(f"{supervision} needs labels")
            stored = np.load(labels, mmap_mode="r")
            self._labels = stored.reshape(-1, stored.shape[-1])
        self._shown, self._area = _mixtures(dense)

    def loss(self, logits: Tensor, rows: NDArray[np.int64], *, hard: bool) -> Tensor:
        """Mean over the batch, in nats."""
        if self._labels is None or hard:
            # HALD smooths the hard labels that students of few views are calibrated by.
            smoothing = LABEL_SMOOTHING if self._smoothing is None else self._smoothing
            shown, area = self._shown[:, rows], self._area[rows]
            return mixed_hard_loss(logits, shown, area, label_smoothing=smoothing)
        soft = torch.from_numpy(self._labels[rows])
        return soft_label_loss(logits, soft, self._kind, temperature=self._temperature)


def _mixtures(dense: DenseLabels) -> tuple[Tensor, Tensor]:
    """Hard labels of both pictures of every view (2, rows), and the second's area (rows,)."""
    policy, hard = dense.description.policy, dense.hard_labels
    assert isinstance(policy, AugmentationPolicy)
    assert hard is not None
    table = dense.index.sample_ids
    renderer = ViewRenderer(policy, table)
    views = list(dense.index.views().batches(len(table)))
    shown = np.concatenate([shown_classes(each, policy, table, hard) for each in views], axis=1)
    area = np.concatenate([renderer.mixed_area(each) for each in views])
    return torch.from_numpy(shown), torch.from_numpy(area)
