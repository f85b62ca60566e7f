"""FKD: one file for each image, with many crops of it and their reduced labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray

from tests.producers.formats.writers.recovery import one_hot, renormalised, spread
from tests.producers.formats.writers.scaffold import ViewWriter, save, writer
from tests.producers.formats.writers.truth import Truth, joined, truth_of_views
from tests.producers.formats.writers.views import Size, ViewDraws, image_names

LabelType = Literal[
    "hard",
    "smoothing",
    "marginal_smoothing_k5",
    "marginal_smoothing_k10",
    "marginal_renorm_k5",
    "full",
]


@dataclass(frozen=True, kw_only=True)
class Fkd(ViewWriter):
    """Files `<class>/<image stem>.tar`, one for each image of an ImageFolder.

    Attributes:
        label_type: how softmax(logits / temperature) is reduced.
        temperature: of the labels.
        use_fp16: whether class IDs and probabilities are saved in half precision.
        label_as: whether the label is saved as a tensor or as an ndarray, like its neighbours.
        names: paths of the images relative to the ImageFolder, sorted.
        sizes: (height, width) of each image.
    """

    label_type: LabelType = "marginal_smoothing_k5"
    temperature: float = 1.0
    use_fp16: bool = False
    label_as: Literal["tensor", "array"] = "tensor"
    names: Sequence[str] | None = None
    sizes: Sequence[Size] | None = None

    def write(self, directory: Path) -> Truth:
        draws = ViewDraws(self.samples, self.classes, self.seed, stream=5, sizes=self.sizes)
        parts = []
        for sample, name in enumerate(self.names or image_names(self.samples, self.classes)):
            views = draws.views([sample] * self.epochs)
            probabilities = torch.softmax(views.logits / self.temperature, dim=1)
            if self.use_fp16:
                probabilities = probabilities.half().float()
            stored, recovered = reduced(probabilities, self.label_type)
            if self.use_fp16 and stored.is_floating_point():
                stored = stored.half()
            label = stored if self.label_as == "tensor" else stored.numpy()
            save([views.coords, views.flip, label], (directory / name).with_suffix(".tar"))
            parts.append(
                truth_of_views(
                    [sample] * self.epochs,
                    range(self.epochs),
                    labels=recovered,
                    temperature=None if self.label_type == "hard" else self.temperature,
                    coords=views.coords,
                    flip=views.flip,
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


write_fkd = writer(Fkd)
