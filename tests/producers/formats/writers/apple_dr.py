"""Apple's dataset reinforcement (ml-dr): one file for each image, a list of its views."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tests.producers.formats.writers.recovery import spread
from tests.producers.formats.writers.scaffold import ViewWriter, save, writer
from tests.producers.formats.writers.truth import Truth, joined, truth_of_views
from tests.producers.formats.writers.views import Size, ViewDraws


@dataclass(frozen=True, kw_only=True)
class AppleDr(ViewWriter):
    """Files `{id}.pth.tar`: (id, [{"params": ..., "prob": (values, ids)}, ...]).

    The crop of `params` is in pixels of the source image; the truth has fractions, which need the
    image's size to get from the file.

    Attributes:
        k: classes kept.
        sizes: (height, width) of each image.
    """

    k: int = 5
    sizes: Sequence[Size] | None = None

    def write(self, directory: Path) -> Truth:
        draws = ViewDraws(self.samples, self.classes, self.seed, stream=7, sizes=self.sizes)
        parts = []
        for sample in range(self.samples):
            views: list[dict[str, Any]] = []
            for epoch in range(self.epochs):
                view = draws.views([sample])
                top = torch.topk(torch.softmax(view.logits[0], dim=0), self.k)
                params = {
                    "RandomResizedCrop": view.crops[0],
                    "RandomHorizontalFlip": bool(view.flip[0]),
                }
                views.append({"params": params, "prob": (top.values, top.indices)})
                ids, values = top.indices.numpy()[None], top.values.numpy()[None]
                parts.append(
                    truth_of_views(
                        [sample],
                        [epoch],
                        labels=spread(ids, values, self.classes),
                        coords=view.coords,
                        flip=view.flip,
                        top_values=values,
                        top_indices=ids,
                    )
                )
            save((sample, views), directory / f"{sample}.pth.tar")
        return joined(parts)


write_apple_dr = writer(AppleDr)
