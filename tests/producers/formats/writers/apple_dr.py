"""Apple's dataset reinforcement (ml-dr): one file for each image, a list of its views."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
        compress: write as all published configurations do: `params` a bare list without names, and
            `config.pth.tar` beside the files, as `reinforce.py` saves both.
        mixing: whether the configuration mixes, so that a list begins with the partner's ID; of
            these views, none happens to be mixed.
        view: side of the views, in the configuration.
        transforms: further settings of the configuration, by the names of transforms.
        sizes: (height, width) of each image.
    """

    k: int = 5
    compress: bool = False
    mixing: bool = False
    view: int = 224
    transforms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sizes: Sequence[Size] | None = None

    def write(self, directory: Path) -> Truth:
        draws = ViewDraws(self.samples, self.classes, self.seed, stream=7, sizes=self.sizes)
        parts = []
        for sample in range(self.samples):
            views: list[dict[str, Any]] = []
            for epoch in range(self.epochs):
                view = draws.views([sample])
                top = torch.topk(torch.softmax(view.logits[0], dim=0), self.k)
                crop, flip = view.crops[0], bool(view.flip[0])
                if self.compress:
                    numbers = [int(number) for number in crop]
                    mixed = [None] if self.mixing else []
                    params: Any = [*mixed, tuple(numbers), flip, *mixed]
                    prob: Any = (top.values.tolist(), top.indices.tolist())
                else:
                    params = {"RandomResizedCrop": crop, "RandomHorizontalFlip": flip}
                    prob = (top.values, top.indices)
                views.append({"params": params, "prob": prob})
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
            path = directory / f"{sample}.pth.tar"
            if self.compress:
                directory.mkdir(parents=True, exist_ok=True)
                torch.save((sample, views), path, pickle_protocol=4)
            else:
                save((sample, views), path)
        if self.compress:
            save(self._config(), directory / "config.pth.tar")
        return joined(parts)

    def _config(self) -> dict[str, Any]:
        """The parts of the script's configuration that a reader may need, and some others."""
        transforms: dict[str, dict[str, Any]] = {
            # Not in the order in which they are applied, which the code has.
            "normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            "random_horizontal_flip": {"enable": True, "p": 0.5},
            "rand_augment": {"enable": False, "p": 0.5},
            "random_resized_crop": {"enable": True, "size": self.view},
            "uint8": {"enable": True},
            "to_tensor": {"enable": True},
        }
        if self.mixing:
            transforms["mixup"] = {"enable": True, "alpha": 1.0, "p": 0.5}
        for name, settings in self.transforms.items():
            transforms[name] = transforms.get(name, {}) | dict(settings)
        return {
            "dataset": "imagenet",
            "num_classes": self.classes,
            "gpu": None,
            "reinforce": {
                "num_samples": self.epochs,
                "topk": self.k,
                "compress": True,
                "joblib": False,
                "gzip": True,
                "image_augmentation": transforms,
            },
        }


write_apple_dr = writer(AppleDr)
