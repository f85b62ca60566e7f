"""EDC: SRe2L's six, the sample IDs and how each image's four patches were shuffled."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tests.producers.formats.writers.batches import Mix, Plan, truth_of
from tests.producers.formats.writers.truth import Truth
from tests.producers.formats.writers.views import Order, Size


def write_edc(
    directory: Path,
    *,
    samples: int,
    epochs: int,
    batch_size: int,
    classes: int,
    seed: int = 0,
    mix: Mix = "cutmix",
    dtype: torch.dtype = torch.float16,
    order: Order = "current",
    sizes: Sequence[Size] | None = None,
    view: int = 224,
) -> Truth:
    """Write a list of eight for each batch of each epoch.

    The permutation is int64 [B, 2, 2]: what the 2 x 2 grid holds are the numbers 0 to 3 of the
    patches, counted by rows.

    Args:
        directory: that gets an `epoch_{e}` for each epoch.
        samples, epochs, batch_size, classes, seed, mix, order, sizes, view: see `Plan`.
        dtype: of the logits.
    """
    plan = Plan(
        samples=samples,
        epochs=epochs,
        batch_size=batch_size,
        classes=classes,
        seed=seed,
        mix=mix,
        order=order,
        sizes=sizes,
        view=view,
    )
    batches = plan.batches()
    generator = torch.Generator().manual_seed(seed + 1)
    labels, patches = [], []
    for batch in batches:
        epoch = directory / f"epoch_{batch.epoch}"
        epoch.mkdir(parents=True, exist_ok=True)
        stored = batch.logits.to(dtype)
        shuffled = torch.stack(
            [torch.randperm(4, generator=generator).view(2, 2) for _ in batch.sample_ids]
        )
        record = [*batch.six(stored), torch.tensor(batch.sample_ids), shuffled]
        torch.save(record, epoch / f"batch_{batch.number}.tar")
        labels.append(stored.numpy())
        patches.append(shuffled.numpy())
    return replace(truth_of(plan, batches, labels), patches=np.concatenate(patches))
