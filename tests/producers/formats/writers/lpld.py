"""LPLD: SRe2L's files for the first epochs only, and the IDs of every epoch in a JSON file."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.producers.formats.writers.batches import Mix, Plan, truth_of
from tests.producers.formats.writers.truth import Truth
from tests.producers.formats.writers.views import Order, Size

INDICES_NAME = "sampler_indices_epoch.json"


def write_lpld(
    directory: Path,
    *,
    samples: int,
    epochs: float,
    batch_size: int,
    classes: int,
    seed: int = 0,
    mix: Mix = "cutmix",
    dtype: torch.dtype = torch.float16,
    order: Order = "current",
    drop_last: bool = True,
    cutout: bool = False,
    finished: bool = True,
    sizes: Sequence[Size] | None = None,
    view: int = 224,
) -> Truth:
    """Write the first `epochs` epochs.

    Args:
        directory: that gets an `epoch_{e}` for each epoch.
        samples, batch_size, classes, seed, mix, order, drop_last, sizes, view: see `Plan`.
        epochs: kept, such as 1.5: the last directory is then partial.
        dtype: of the logits.
        cutout: the ImageNet-21K variant: seven floats a view instead of the flip.
        finished: whether generation ended, which is when the IDs are written.
    """
    plan = Plan(
        samples=samples,
        epochs=int(np.ceil(epochs)),
        batch_size=batch_size,
        classes=classes,
        seed=seed,
        mix=mix,
        order=order,
        drop_last=drop_last,
        sizes=sizes,
        view=view,
    )
    plan = replace(plan, max_batches=round(epochs * plan.batches_per_epoch))
    batches = plan.batches()
    rng = np.random.default_rng([seed, 3])
    labels = []
    for batch in batches:
        epoch = directory / f"epoch_{batch.epoch}"
        epoch.mkdir(parents=True, exist_ok=True)
        stored = batch.logits.to(dtype)
        record = batch.six(stored)
        if cutout:
            record[1] = torch.from_numpy(rng.random((len(stored), 7), dtype=np.float32))
        torch.save(record, epoch / f"batch_{batch.number}.tar")
        labels.append(stored.numpy())
    if finished:
        # All IDs of an epoch, also those of its short last batch, which drop_last never stores.
        ids = {str(epoch): order_of for epoch, order_of in enumerate(plan.orders())}
        (directory / INDICES_NAME).write_text(json.dumps(ids))
    return truth_of(plan, batches, labels, flip_stored=not cutout)
