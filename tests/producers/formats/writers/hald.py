"""HALD: one file an epoch, holding SRe2L-like lists with probabilities instead of logits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.producers.formats.writers.batches import Mix, Plan, truth_of
from tests.producers.formats.writers.truth import Truth
from tests.producers.formats.writers.views import Order, Size

INDICES_NAME = "sampler_indices_dict.pt"


def write_hald(
    directory: Path,
    *,
    samples: int,
    epochs: int,
    batch_size: int,
    classes: int,
    seed: int = 0,
    mix: Mix = "cutmix",
    temperature: float = 20.0,
    order: Order = "current",
    drop_last: bool = False,
    sizes: Sequence[Size] | None = None,
    view: int = 224,
) -> Truth:
    """Write `epoch_{e}.tar` and the IDs of every epoch.

    Args:
        directory: that gets the files.
        samples, epochs, batch_size, classes, seed, mix, order, drop_last, sizes, view: see `Plan`.
        temperature: of the stored softmax.
    """
    plan = Plan(
        samples=samples,
        epochs=epochs,
        batch_size=batch_size,
        classes=classes,
        seed=seed,
        mix=mix,
        order=order,
        drop_last=drop_last,
        sizes=sizes,
        view=view,
    )
    batches = plan.batches()
    directory.mkdir(parents=True, exist_ok=True)
    labels = []
    records: list[list[list[Any]]] = [[] for _ in range(epochs)]
    for batch in batches:
        stored = torch.softmax(batch.logits / temperature, dim=1).half()
        records[batch.epoch].append([batch.coords.half(), *batch.six(stored)[1:]])
        labels.append(stored.numpy())
    for epoch, of_epoch in enumerate(records):
        torch.save(of_epoch, directory / f"epoch_{epoch}.tar")
    ids = {str(epoch): order_of for epoch, order_of in enumerate(plan.orders())}
    torch.save(ids, directory / INDICES_NAME)
    return truth_of(
        plan,
        batches,
        labels,
        label_kind="probabilities",
        temperature=temperature,
        coords_dtype=torch.float16,
    )
