"""SRe2L, CDA and CV-DD: `epoch_{e}/batch_{b}.tar`, a list of six and no sample IDs."""

from collections.abc import Sequence
from pathlib import Path

import torch

from tests.producers.formats.writers.batches import Mix, Plan, truth_of
from tests.producers.formats.writers.truth import Truth
from tests.producers.formats.writers.views import Order, Size


def write_sre2l(
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
    drop_last: bool = False,
    sizes: Sequence[Size] | None = None,
    view: int = 224,
) -> Truth:
    """Write the raw teacher logits of every epoch.

    Args:
        directory: that gets an `epoch_{e}` for each epoch.
        samples, epochs, batch_size, classes, seed, mix, order, drop_last, sizes, view: see `Plan`.
        dtype: of the logits, float16 or float32.
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
    labels = []
    for batch in batches:
        epoch = directory / f"epoch_{batch.epoch}"
        epoch.mkdir(parents=True, exist_ok=True)
        stored = batch.logits.to(dtype)
        torch.save(batch.six(stored), epoch / f"batch_{batch.number}.tar")
        labels.append(stored.numpy())
    return truth_of(plan, batches, labels)
