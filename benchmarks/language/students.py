"""The loop that all students share: they differ in their labels, and in nothing else."""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.language.corpus import Sequences, TokenIds
from benchmarks.language.label_sets import views_of
from benchmarks.language.memory import peak_rss_bytes
from benchmarks.language.network import Student
from benchmarks.language.place import Place
from benchmarks.language.points import HARD, Point
from benchmarks.language.settings import Scale
from labelcast.torch import CodedLabels
from labelcast.torch.tokens.heads.student_head import StudentHead
from labelcast.torch.tokens.losses import token_loss_of_states

_WARM_UP, _WEIGHT_DECAY, _BETAS, _CLIP = 0.1, 0.1, (0.9, 0.95), 1.0
# Tokens of the text whose logits are held at once, for their own next token.
_SLICE = 256


def train(point: Point, place: Place, *, seed: int, vocabulary: int) -> dict[str, Any]:
    """Train a student and test it after each epoch.

    Args:
        point: whose labels.
        place: of the run.
        seed: of initial weights and of the order of sequences: the same for all points.
        vocabulary: tokens, V.

    Returns:
        Held-out loss in nats a token after each epoch, seconds and memory; JSON values.
    """
    scale, sequences = place.scale, place.train
    torch.manual_seed(seed)
    student = Student(
        vocabulary=vocabulary, width=scale.width, layers=scale.layers, heads=scale.heads
    )
    batches = list(_batches(len(sequences.lengths), scale, seed))
    labels = _labels(point, place, batches)
    optimizer, schedule = _optimizer(student, scale, len(batches))
    held_out, seconds, tokens = [], 0.0, 0
    per_epoch = len(batches) // scale.epochs
    rows = list(sequences)
    for step, numbers in enumerate(batches, start=1):
        began = time.perf_counter()
        inputs, following, counted = _padded([rows[number] for number in numbers])
        states = student(inputs)[counted]
        optimizer.zero_grad()
        if labels is None:
            _learn_text(states, student.head, following[counted])
        else:
            head = StudentHead(student.head)
            token_loss_of_states(states, head, next(labels)).backward()
        nn.utils.clip_grad_norm_(student.parameters(), _CLIP)
        optimizer.step()
        schedule.step()
        seconds, tokens = seconds + time.perf_counter() - began, tokens + len(states)
        if step % per_epoch == 0:
            held_out.append(text_loss(student, place.held_out))
    return {
        "seed": seed,
        "steps": len(batches),
        "tokens": tokens,
        "held_out_nats": held_out,
        "seconds": round(seconds, 2),
        "tokens_per_second": tokens / seconds,
        "peak_rss_bytes": peak_rss_bytes(),
    }


@torch.inference_mode()
def text_loss(student: Student, sequences: Sequences) -> float:
    """Mean loss of the text's own next tokens, in nats."""
    total, count = 0.0, 0
    student.eval()
    for ids in sequences:
        inputs, following, counted = _padded([ids])
        logits = student(inputs)[counted] @ student.head.T
        total += float(functional.cross_entropy(logits, following[counted], reduction="sum"))
        count += len(logits)
    student.train()
    return total / count


def _batches(sequences: int, scale: Scale, seed: int) -> Iterator[NDArray[np.int64]]:
    """Sequences of every step: all of them in each epoch, but for a last few."""
    random = np.random.default_rng(seed)
    for _ in range(scale.epochs):
        order = random.permutation(sequences)
        for at in range(0, sequences - scale.batch + 1, scale.batch):
            yield order[at : at + scale.batch]


def _labels(
    point: Point, place: Place, batches: list[NDArray[np.int64]]
) -> Iterator[CodedLabels] | None:
    """Labels of every step, of all positions that have a next token."""
    if point.name == HARD:
        return None
    lengths = place.train.lengths - 1
    views = (views_of(numbers, lengths[numbers]) for numbers in batches)
    label_set = place.label_set(point)
    reader = label_set.code_reader(policy=label_set.contract.policy)
    found: Iterator[CodedLabels] = reader.over(views)
    return found


def _padded(rows: list[TokenIds]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, the tokens that follow, and which places have one; each (B, L)."""
    longest = max(map(len, rows))
    inputs = torch.zeros((len(rows), longest), dtype=torch.int64)
    for row, ids in zip(inputs, rows, strict=True):
        row[: len(ids)] = torch.from_numpy(ids.astype(np.int64))
    lengths = torch.tensor([len(ids) for ids in rows])
    counted = torch.arange(longest)[None, :] < lengths[:, None] - 1
    return inputs, inputs.roll(-1, dims=1), counted


def _learn_text(states: Tensor, head: Tensor, following: Tensor) -> None:
    """Gradients of the loss of hard labels, a slice of tokens at a time."""
    cut = states.detach().requires_grad_()
    for part, wanted in zip(cut.split(_SLICE), following.split(_SLICE), strict=True):
        loss = functional.cross_entropy(part @ head.T, wanted, reduction="sum")
        (loss / len(following)).backward()
    states.backward(cut.grad)


def _optimizer(
    student: Student, scale: Scale, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(
        student.parameters(),
        lr=scale.peak_learning_rate,
        weight_decay=_WEIGHT_DECAY,
        betas=_BETAS,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=scale.peak_learning_rate,
        total_steps=steps,
        pct_start=_WARM_UP,
        cycle_momentum=False,
    )
    return optimizer, schedule


def perplexity(nats: float) -> float:
    """Of a mean loss."""
    return math.exp(nats)
