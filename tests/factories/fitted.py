"""A teacher small enough to fit within a second, and fits of it."""

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from labelcast.augmentation import AugmentationPolicy, Mix, draw_records
from labelcast.codec import LabelKind
from labelcast.label_set import GridIndex, RowOrder, SegmentIndex, class_list_digest, digest_of
from labelcast_producers.dense.labels import (
    DESCRIPTION_NAME,
    LABELS_NAME,
    Description,
    open_for_fitting,
    write_tables,
)
from labelcast_producers.fitting import FitConfig, FittedCodec, fit
from labelcast_producers.fitting.fit import CHECKPOINT_FILE
from labelcast_producers.fitting.steps import Loop

NUM_CLASSES = 12
SEEDS, SAMPLES = 12, 40
POLICY = AugmentationPolicy(
    view_height=16, view_width=16, mix=Mix.CUTMIX, mix_probability=0.8, key=3
)


def teacher_logits() -> NDArray[np.float16]:
    """Logits of a small network for noisy views of random samples: (SEEDS, SAMPLES, C)."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, NUM_CLASSES))
    with torch.no_grad():
        for weights in network.parameters():
            weights.normal_(0, 1, generator=generator)
        samples = torch.randn(1, SAMPLES, 6, generator=generator)
        views = samples + 0.3 * torch.randn(SEEDS, SAMPLES, 6, generator=generator)
        logits: NDArray[np.float16] = network(views).numpy().astype(np.float16)
        return logits


def write_labels(directory: Path, labels: NDArray[Any] | None = None) -> Path:
    path = directory / "labels.npy"
    np.save(path, teacher_logits() if labels is None else labels)
    return path


def mixed_logits(index: SegmentIndex, hard_labels: NDArray[np.int64]) -> NDArray[np.float16]:
    """Of a teacher that sees both classes by their shares, in one of four moods that only a code
    can tell: (SEEDS, SAMPLES, C).
    """
    views, ids = index.views(), index.sample_ids
    records = draw_records(POLICY, views.sample_ids, views.seeds, sample_table=ids)
    shares = (records.box_pixels() / 256)[:, None]
    generator = np.random.default_rng(0)
    looks_like = generator.dirichlet(np.full(NUM_CLASSES, 0.3), size=NUM_CLASSES)
    looks_like = (looks_like + np.eye(NUM_CLASSES)) / 2
    own, partner = (
        looks_like[hard_labels[np.searchsorted(ids, sample_ids)]]
        for sample_ids in (views.sample_ids, records.partner_sample_ids)
    )
    seen = np.log((1 - shares) * own + shares * partner + 1e-3)
    moods = generator.normal(0, 0.8, (4, NUM_CLASSES))
    seen += moods[generator.integers(4, size=len(seen))] + generator.normal(0, 0.1, seen.shape)
    return seen.astype(np.float16).reshape(SEEDS, SAMPLES, NUM_CLASSES)


def write_mixed(directory: Path) -> Path:
    """A directory as `relabel` writes them: fits of it are conditioned on context."""
    directory.mkdir(parents=True, exist_ok=True)
    ids = 10**6 + 3 * np.arange(SAMPLES, dtype=np.uint64)
    index = GridIndex(ids, np.arange(SEEDS, dtype=np.uint32), RowOrder.SEED_MAJOR)
    hard_labels = np.random.default_rng(1).integers(NUM_CLASSES, size=SAMPLES)
    np.save(directory / LABELS_NAME, mixed_logits(index, hard_labels))
    write_tables(directory, index, hard_labels)
    description = Description(
        teacher=digest_of(b"teacher"),
        teacher_name="a teacher of tests",
        dataset=digest_of(b"data set"),
        num_classes=NUM_CLASSES,
        class_list=class_list_digest([str(number) for number in range(NUM_CLASSES)]),
        policy=POLICY,
        label_kind=LabelKind.LOGITS,
        temperature=None,
    )
    (directory / DESCRIPTION_NAME).write_bytes(description.to_bytes())
    return directory


def small_config(**changes: Any) -> FitConfig:
    settings: dict[str, Any] = {
        "codes": 3,
        "codebook_size": 16,
        "codeword_width": 4,
        "encoder_hidden": (32,),
        "decoder_hidden": (32,),
        "class_width": 8,
        "steps": 300,
        "learning_rate": 1e-2,
        "batch_rows": 64,
        "run_rows": 4,
        "compute": "fp32",
    }
    return FitConfig.model_validate(settings | changes)


def fit_file(
    path: Path,
    out: Path,
    *,
    kind: LabelKind = LabelKind.LOGITS,
    resume: bool = True,
    checkpoint_seconds: float = 60.0,
    **changes: Any,
) -> FittedCodec:
    """Fit on one CPU thread, so that any two processes compute the same bits.

    A directory of dense labels is fitted with its context, a plain file without.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    labels, kind, context = open_for_fitting(path, kind)
    try:
        return fit(
            labels,
            small_config(**changes),
            out=out,
            label_kind=kind,
            context=context,
            device="cpu",
            resume=resume,
            checkpoint_seconds=checkpoint_seconds,
        )
    finally:
        torch.set_num_threads(threads)


@contextmanager
def signalled_once_saved(checkpoint: Path, number: signal.Signals) -> Iterator[None]:
    """Fits of this process get a signal at their third step after the first checkpoint.

    They send it themselves: another process or thread might be late on a busy machine.
    """
    fit_batch, steps = Loop._fit_batch, itertools.count(1)

    def step(loop: Loop, *batch: Any) -> dict[str, float]:
        if checkpoint.exists() and next(steps) == 3:
            os.kill(os.getpid(), number)
        return fit_batch(loop, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_fit_batch", step)
        yield


def fit_until_killed(labels: Path, out: Path, steps: int) -> None:
    """A fit that kills its process."""
    with signalled_once_saved(out / CHECKPOINT_FILE, signal.SIGKILL):
        fit_file(labels, out, steps=steps, checkpoint_seconds=0.05)
