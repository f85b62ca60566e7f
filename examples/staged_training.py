"""Train a student through the stages of a staged label set (PDD, arXiv 2310.06982).

    python examples/staged_training.py --address 127.0.0.1:7070 --tag mine:staged --images DIR \
        --student package.module:network --out run/

Every stage trains on all samples up to it, at the learning rate and for the epochs that the label
set names. A run that is interrupted goes on at the stage that it had begun: what a stage left is
in `run/stage-K.pt`.
"""

import argparse
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from labelcast import Expectation, LabelClient, RemoteLabelSet, Representation
from labelcast.torch import ImageFolder, LabelSetSource, SoftLabelLoader, soft_label_loss


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a stage is trained with where the label set does not say."""

    learning_rate: float = 1e-3
    epochs: int = 10
    batch_size: int = 64
    temperature: float = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", required=True)
    parser.add_argument("--tls", action="store_true", help="for a service on another machine")
    parser.add_argument("--tag", required=True)
    parser.add_argument("--images", type=Path, required=True, help="class directories of images")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--student", required=True, help="package.module:function of a network")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    module, _, name = options.student.partition(":")
    make_student: Callable[[], nn.Module] = getattr(importlib.import_module(module), name)
    images = ImageFolder(options.images, channels=options.channels)
    defaults = Defaults(batch_size=options.batch_size)
    with LabelClient(options.address, tls=options.tls) as client:
        label_set = client.open(options.tag, expect=Expectation(temperature=defaults.temperature))
        trained = train_through_stages(
            client, label_set, images, make_student, options.out, defaults
        )
    print(json.dumps(trained))


def train_through_stages(
    client: LabelClient,
    label_set: RemoteLabelSet,
    images: ImageFolder,
    make_student: Callable[[], nn.Module],
    out: Path,
    defaults: Defaults,
) -> list[dict[str, float]]:
    """Train stage after stage; returns steps and last loss of the stages trained by this call."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    student, trained = make_student(), []
    for number, stage in enumerate(label_set.manifest.stages):
        kept = out / f"stage-{number}.pt"
        if kept.exists():
            student.load_state_dict(torch.load(kept, weights_only=True))
            continue
        grid = label_set.stage_grid(number)
        source = LabelSetSource(label_set, Representation.codes())
        loader = SoftLabelLoader(
            images,
            source,
            policy=label_set.contract.policy,
            seeds=grid.epochs(stage.epochs or defaults.epochs),
            batch_size=defaults.batch_size,
            sample_ids=grid.sample_ids,
        )
        optimizer = torch.optim.AdamW(
            student.parameters(), lr=stage.learning_rate or defaults.learning_rate
        )
        loss = torch.zeros(())
        for batch in loader:
            loss = soft_label_loss(
                student(batch.images),
                batch.labels,
                source.label_kind,
                temperature=defaults.temperature,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.save(student.state_dict(), kept)
        trained.append({"stage": number, "steps": len(loader), "loss": float(loss)})
    return trained


if __name__ == "__main__":
    main()
