"""FKD: one file for each image, with many crops of it and their reduced labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from tests.producers.formats.writers.recovery import one_hot, renormalised, spread
from tests.producers.formats.writers.truth import Truth, joined
from tests.producers.formats.writers.views import (
    Size,
    Teacher,
    draw_coords,
    image_names,
    image_sizes,
)

LabelType = Literal[
    "hard",
    "smoothing",
    "marginal_smoothing_k5",
    "marginal_smoothing_k10",
    "marginal_renorm_k5",
    "full",
]


def write_fkd(
    directory: Path,
    *,
    samples: int,
    epochs: int,
    batch_size: int | None = None,
    classes: int,
    seed: int = 0,
    label_type: LabelType = "marginal_smoothing_k5",
    temperature: float = 1.0,
    label_as: Literal["tensor", "array"] = "tensor",
    names: Sequence[str] | None = None,
    sizes: Sequence[Size] | None = None,
) -> Truth:
    """Write `<class>/<image stem>.tar` for each image of an ImageFolder.

    Args:
        directory: that gets the class directories.
        samples, classes: of the data set.
        epochs: crops of each image, N.
        batch_size: unused: files of images know no batches.
        seed: of all that is drawn.
        label_type: how softmax(logits / temperature) is reduced.
        temperature: of the labels.
        label_as: whether the label is saved as a tensor or as an ndarray, like its neighbours.
        names: paths of the images relative to the ImageFolder, sorted.
        sizes: (height, width) of each image.
    """
    del batch_size
    rng = np.random.default_rng([seed, 5])
    teacher = Teacher(samples, classes, seed)
    names = names or image_names(samples, classes)
    sizes = sizes or image_sizes(samples)
    parts = []
    for sample, name in enumerate(names):
        coords = draw_coords(rng, [sizes[sample]] * epochs)
        flip = rng.random(epochs) < 0.5
        logits = torch.from_numpy(teacher.logits(rng, np.full(epochs, sample)))
        stored, recovered = reduced(torch.softmax(logits / temperature, dim=1), label_type)
        label = stored if label_as == "tensor" else stored.numpy()
        path = (directory / name).with_suffix(".tar")
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save([coords, flip, label], path)
        parts.append(
            Truth(
                sample_ids=np.full(epochs, sample, dtype=np.uint64),
                seeds=np.arange(epochs, dtype=np.uint32),
                labels=recovered,
                label_kind="probabilities",
                temperature=None if label_type == "hard" else temperature,
                coords=coords,
                flip=flip,
            )
        )
    return joined(parts)


def reduced(
    probabilities: torch.Tensor, label_type: LabelType
) -> tuple[torch.Tensor, NDArray[Any]]:
    """What is stored of (N, C) probabilities, and the distributions it stands for."""
    classes = probabilities.shape[1]
    if label_type == "full":
        return probabilities, probabilities.numpy()
    k = int(label_type.rpartition("_k")[2]) if "_k" in label_type else 1
    top = torch.topk(probabilities, k)
    ids, values = top.indices.numpy(), top.values.numpy()
    if label_type == "hard":
        return top.indices[:, 0], one_hot(ids[:, 0], classes)
    # Class IDs share a float tensor with their probabilities.
    pairs = torch.stack([top.indices.to(torch.float32), top.values], dim=1)
    if label_type == "smoothing":
        return pairs[:, :, 0], spread(ids, values, classes)
    recover = renormalised if label_type == "marginal_renorm_k5" else spread
    return pairs, recover(ids, values, classes)
