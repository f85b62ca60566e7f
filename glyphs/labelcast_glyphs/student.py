r"""One student run: what a remote trainer does, knowing an address, a tag and the images.

    python -m labelcast_glyphs.student --run stream-codes --address 127.0.0.1:7070 \
        --tag glyphs:demo --distilled distilled.safetensors --epochs 60 --out run.json

Runs differ in their labels alone: seeds, order and views are the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from labelcast import Expectation, LabelcastError, LabelClient, RemoteLabelSet, Representation, Tls
from labelcast.label_set import ViewIndex
from labelcast.torch import (
    ArrayLabels,
    Batch,
    LabelSetSource,
    LabelSource,
    SampleTable,
    SoftLabelLoader,
    mixed_hard_loss,
    soft_label_loss,
)
from labelcast_glyphs.dataset import GlyphDataset
from labelcast_glyphs.distilled import DistilledSet
from labelcast_glyphs.evaluation import top1_accuracy
from labelcast_glyphs.networks import student_network

TEMPERATURE = 1.0


class Run(StrEnum):
    """Where the labels of a run come from."""

    HARD = "hard"
    DENSE_MEMORY = "dense-memory"
    STREAM_DENSE = "stream-dense"
    STREAM_CODES = "stream-codes"

    @property
    def streams(self) -> bool:
        """Whether labels come from the service."""
        return self in (Run.STREAM_DENSE, Run.STREAM_CODES)


@dataclass(frozen=True, kw_only=True)
class StudentSettings:
    """Everything that decides a student, beside its labels.

    Attributes:
        epochs: passes over the distilled set, each under its own augmentation seed.
        batch_size: views a step.
        peak_learning_rate: top of the one-cycle schedule of AdamW.
        weight_decay: of AdamW.
        label_smoothing: of the hard-label run.
        seed: of initial weights and order.
    """

    epochs: int = 60
    batch_size: int = 100
    peak_learning_rate: float = 6e-3
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class StudentResult:
    """What a run measured.

    Attributes:
        name: of the run.
        top1: share in [0, 1] on the held-out faces.
        labels: delivered.
        wire_bytes: gRPC messages with their frames, both directions, everything included.
        stream_bytes: the same without what is fetched once (manifest, codec).
        train_seconds: wall time of the training loop.
        label_wait_seconds: of it, waiting for labels.
    """

    name: str
    top1: float
    labels: int
    wire_bytes: int
    stream_bytes: int
    train_seconds: float
    label_wait_seconds: float


def train_student(
    run: Run,
    settings: StudentSettings,
    *,
    client: LabelClient,
    label_set: RemoteLabelSet,
    distilled: DistilledSet,
    dense_directory: Path | None,
    show_progress: bool = True,
) -> StudentResult:
    """Train one student and test it on the held-out faces.

    Args:
        run: where labels come from.
        settings: the rest.
        client: of the service.
        label_set: opened and checked; its policy makes the views of every run.
        distilled: the images.
        dense_directory: from `labelcast relabel`, for the yardstick in memory.
        show_progress: draw a progress bar on stderr.

    Raises:
        LabelcastError: labels could not be had, or do not belong to these views.
    """
    if run is Run.STREAM_CODES:
        # Fetched before the stream, so that what comes once and what comes for each label can be
        # told apart.
        label_set.decoder()
    source = _source(run, label_set, dense_directory)
    loader = SoftLabelLoader(
        distilled,
        source,
        policy=label_set.contract.policy,
        seeds=range(settings.epochs),
        batch_size=settings.batch_size,
        order_key=settings.seed,
    )
    torch.manual_seed(settings.seed)
    network = student_network(distilled.num_classes).train()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=settings.peak_learning_rate,
        total_steps=len(loader),
        cycle_momentum=False,
    )
    before = client.wire_bytes.total
    labels = 0
    began = time.perf_counter()
    bar = tqdm(loader, desc=f"student {run.value}", unit="batch", disable=not show_progress)
    for batch in bar:
        loss = _loss(network, batch, source, settings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        labels += len(batch.views)
    train_seconds = time.perf_counter() - began
    held_out = GlyphDataset("held_out", distilled.num_classes)
    stream_bytes = client.wire_bytes.total - before
    return StudentResult(
        name=run.value,
        top1=top1_accuracy(network, held_out),
        labels=labels,
        wire_bytes=client.wire_bytes.total if run.streams else 0,
        stream_bytes=stream_bytes if run.streams else 0,
        train_seconds=train_seconds,
        label_wait_seconds=loader.label_wait_seconds,
    )


def _source(
    run: Run, label_set: RemoteLabelSet, dense_directory: Path | None
) -> LabelSource | None:
    if run is Run.HARD:
        return None
    if run is Run.STREAM_DENSE:
        return LabelSetSource(label_set, Representation.logits())
    if run is Run.STREAM_CODES:
        return LabelSetSource(label_set, Representation.codes())
    if dense_directory is None:
        raise ValueError("the run dense-memory needs --dense, a directory of dense labels")
    # The yardstick reads the relabeller's own file; a real student never sees one.
    from labelcast_producers.dense.labels import DenseLabels

    dense = DenseLabels.open(dense_directory)
    rows = dense.rows.read(0, dense.rows.num_rows)
    return ArrayLabels(
        rows,
        ViewIndex([dense.index]),
        dense.description.label_kind,
        view_policy=dense.description.policy,
    )


def _loss(
    network: nn.Module, batch: Batch, source: LabelSource | None, settings: StudentSettings
) -> torch.Tensor:
    logits = network(batch.images)
    if source is None:
        return mixed_hard_loss(
            logits, batch.shown, batch.mixed_area, label_smoothing=settings.label_smoothing
        )
    return soft_label_loss(logits, batch.labels, source.label_kind, temperature=TEMPERATURE)


def main(arguments: list[str] | None = None) -> int:
    """Command line of one run; writes its result as JSON."""
    parser = argparse.ArgumentParser(description="Train one student on Glyphs.")
    parser.add_argument("--run", type=Run, required=True, choices=list(Run), metavar="RUN")
    parser.add_argument("--address", required=True, help="host:port of the service")
    parser.add_argument("--tls-ca", type=Path, help="PEM file of the service's authority, for TLS")
    parser.add_argument("--tag", required=True, help="label set to train on")
    parser.add_argument("--distilled", type=Path, required=True, help="distilled images")
    parser.add_argument("--dense", type=Path, help="dense labels, for dense-memory only")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the result")
    options = parser.parse_args(arguments)
    tls = False if options.tls_ca is None else Tls(options.tls_ca)
    try:
        distilled = DistilledSet.load(options.distilled)
        table = SampleTable(distilled)
        expect = Expectation(
            dataset=table.digest(), class_list=table.class_list(), temperature=TEMPERATURE
        )
        with LabelClient(options.address, tls=tls) as client:
            result = train_student(
                options.run,
                StudentSettings(epochs=options.epochs, seed=options.seed),
                client=client,
                label_set=client.open(options.tag, expect=expect),
                distilled=distilled,
                dense_directory=options.dense,
            )
        options.out.write_text(json.dumps(asdict(result)))
    except (LabelcastError, OSError, ValueError) as error:
        print("error:", *str(error).split(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    sys.exit(main())
