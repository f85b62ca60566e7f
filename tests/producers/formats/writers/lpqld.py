"""LPQLD: flat batches of top-k logits, with their sample IDs in a JSON file."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.producers.formats.writers.batches import Batch, Mix, Plan, truth_of
from tests.producers.formats.writers.recovery import scattered
from tests.producers.formats.writers.truth import Truth
from tests.producers.formats.writers.views import Order, Size

INDICES_NAME = "sampler_indices_batch.json"
OPERATIONS = ("Identity", "ShearX", "Rotate", "Posterize", "Solarize", "Color")


def rand_augment_parameters(batch: Batch) -> list[list[tuple[str, float]]]:
    """Two operations and their magnitudes for each image of a batch."""
    rng = np.random.default_rng([batch.epoch, batch.number, 4])
    return [
        [(str(rng.choice(OPERATIONS)), float(rng.uniform(0, 9))) for _ in range(2)]
        for _ in batch.sample_ids
    ]


def write_lpqld(
    directory: Path,
    *,
    samples: int,
    epochs: float,
    batch_size: int,
    classes: int,
    seed: int = 0,
    k: int = 5,
    mix: Mix = "cutmix",
    quantised: bool = True,
    dtype: torch.dtype = torch.float16,
    order: Order = "current",
    drop_last: bool = True,
    parameters: Callable[[Batch], Any] | None = None,
    missing: float = -np.inf,
    sizes: Sequence[Size] | None = None,
    view: int = 224,
) -> Truth:
    """Write `batch_{n}.tar` through all kept epochs.

    Args:
        directory: that gets the files.
        samples, batch_size, classes, seed, mix, order, drop_last, sizes, view: see `Plan`. Small
            integers hold positions and boxes, so `batch_size` and `view` may not pass 256 and 255.
        epochs: kept; the last may be partial.
        k: classes kept.
        quantised: False for the list of six with dense labels.
        dtype: of dense labels.
        parameters: of RandAugment, such as `rand_augment_parameters`: any object for a batch, which
            is put at position 2. None for a producer without RandAugment.
        missing: what the recovered logits of classes that were not kept are.

    Returns:
        With the epoch as the seed: see `by_occurrence`.
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
    directory.mkdir(parents=True, exist_ok=True)
    labels, values, indices = [], [], []
    for number, batch in enumerate(batches):
        if quantised:
            top = torch.topk(batch.logits, k)
            record = [*_quantised(batch), top.values.half(), top.indices.to(torch.int16)]
            values.append(record[-2].numpy())
            indices.append(top.indices.numpy())
            labels.append(scattered(indices[-1], values[-1], classes, missing))
        else:
            stored = batch.logits.to(dtype)
            record = batch.six(stored)
            labels.append(stored.numpy())
        if parameters is not None:
            record.insert(2, parameters(batch))
        torch.save(record, directory / f"batch_{number}.tar")
    ids = {str(number): batch.sample_ids for number, batch in enumerate(batches)}
    (directory / INDICES_NAME).write_text(json.dumps(ids))
    if not quantised:
        return truth_of(plan, batches, labels)
    return replace(
        truth_of(plan, batches, labels, coords_dtype=torch.float16),
        top_values=np.concatenate(values),
        top_indices=np.concatenate(indices),
    )


def _quantised(batch: Batch) -> list[Any]:
    """The first five of the seven."""
    return [
        batch.coords.half(),
        batch.flip,
        None if batch.mix_index is None else batch.mix_index.to(torch.uint8),
        batch.lam,
        None
        if batch.box is None
        else [torch.tensor(int(edge), dtype=torch.uint8) for edge in batch.box],
    ]
