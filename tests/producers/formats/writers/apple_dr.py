"""Apple's dataset reinforcement (ml-dr): one file for each image, a list of its views."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.producers.formats.writers.recovery import spread
from tests.producers.formats.writers.truth import Truth
from tests.producers.formats.writers.views import Size, Teacher, draw_crop, fractions, image_sizes


def write_apple_dr(
    directory: Path,
    *,
    samples: int,
    epochs: int,
    batch_size: int | None = None,
    classes: int,
    seed: int = 0,
    k: int = 5,
    sizes: Sequence[Size] | None = None,
) -> Truth:
    """Write `{id}.pth.tar`: (id, [{"params": ..., "prob": (values, ids)}, ...]).

    The crop of `params` is in pixels of the source image; the truth has fractions, which need the
    image's size to get from the file.

    Args:
        directory: that gets the files.
        samples, classes: of the data set.
        epochs: views of each image.
        batch_size: unused: files of images know no batches.
        seed: of all that is drawn.
        k: classes kept.
        sizes: (height, width) of each image.
    """
    del batch_size
    rng = np.random.default_rng([seed, 7])
    teacher = Teacher(samples, classes, seed)
    sizes = sizes or image_sizes(samples)
    directory.mkdir(parents=True, exist_ok=True)
    coords, flips, indices, values = [], [], [], []
    for sample in range(samples):
        views: list[dict[str, Any]] = []
        for _ in range(epochs):
            crop = draw_crop(rng, sizes[sample])
            flip = bool(rng.random() < 0.5)
            logits = torch.from_numpy(teacher.logits(rng, np.array([sample])))[0]
            top = torch.topk(torch.softmax(logits, dim=0), k)
            params = {"RandomResizedCrop": crop, "RandomHorizontalFlip": flip}
            views.append({"params": params, "prob": (top.values, top.indices)})
            coords.append(fractions(crop, sizes[sample]))
            flips.append(flip)
            indices.append(top.indices.numpy())
            values.append(top.values.numpy())
        torch.save((sample, views), directory / f"{sample}.pth.tar")
    return Truth(
        sample_ids=np.repeat(np.arange(samples, dtype=np.uint64), epochs),
        seeds=np.tile(np.arange(epochs, dtype=np.uint32), samples),
        labels=spread(np.stack(indices), np.stack(values), classes),
        label_kind="probabilities",
        coords=np.array(coords, dtype=np.float32),
        flip=np.array(flips),
        top_values=np.stack(values),
        top_indices=np.stack(indices),
    )
