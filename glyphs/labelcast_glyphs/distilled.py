"""The distilled set: a few training pictures per class, chosen by the teacher.

RDED (arXiv 2312.03526) scores a crop by its *realism*, the negative cross-entropy between the
teacher's prediction and the class, and keeps the best crops. Here whole pictures are kept, so that
students cut their own views from them, and a picture's score is the mean over several crops.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import nn

from labelcast.files import whole_file
from labelcast_glyphs.batch_augmentation import random_geometry
from labelcast_glyphs.dataset import LabelledImages

_FORMAT = "labelcast-glyphs-distilled-1"
_COLUMNS = ("images", "hard_labels", "sample_ids")
_BATCH = 500


class DistilledSet(LabelledImages):
    """A subset of the training pictures under their original sample IDs."""

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, whole or not at all.

        Args:
            path: target; an existing file is replaced.

        Raises:
            OSError: the directory is missing or not writable.
        """
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _COLUMNS}
        metadata = {"format": _FORMAT, "class_names": json.dumps(self.class_names)}
        with whole_file(Path(path)) as partial:
            save_file(tensors, partial, metadata=metadata)

    @classmethod
    def load(cls, path: str | Path) -> DistilledSet:
        """Read a file that `save` wrote.

        Args:
            path: the safetensors file.

        Returns:
            The set, equal in every column and name.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a distilled set, damaged, or columns that contradict each other.
        """
        try:
            with safe_open(path, framework="np") as file:
                metadata: dict[str, str] = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise ValueError(f"{path} is not a distilled set of Glyphs")
                if set(file.keys()) != set(_COLUMNS):
                    raise ValueError(f"{path} has columns {sorted(file.keys())}")
                columns = {name: file.get_tensor(name) for name in _COLUMNS}
            class_names = json.loads(metadata["class_names"])
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if not isinstance(class_names, list) or not all(isinstance(n, str) for n in class_names):
            raise ValueError(f"{path}: class_names is not a list of strings")
        try:
            return cls(class_names=class_names, **columns)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def distil(
    dataset: LabelledImages,
    teacher: nn.Module,
    *,
    images_per_class: int = 2,
    num_crops: int = 5,
    min_crop_scale: float = 0.4,
    max_rotation_degrees: float = 15.0,
    seed: int = 0,
) -> DistilledSet:
    """Keep the pictures of each class that the teacher recognises best.

    Args:
        dataset: usually `GlyphDataset("train")`; every class needs images_per_class pictures.
        teacher: in eval mode; maps float32 (N, 1, 32, 32) to logits (N, num_classes).
        images_per_class: pictures kept per class, at least 1.
        num_crops: random views that make up a picture's score, at least 1.
        min_crop_scale: smallest share of the picture in a view.
        max_rotation_degrees: views are rotated within ± this.
        seed: of the views.

    Returns:
        The kept pictures, ordered by sample ID.

    Raises:
        ValueError: a count below 1, or a class with too few pictures.
    """
    if images_per_class < 1 or num_crops < 1:
        raise ValueError("images_per_class and num_crops must be at least 1")
    available = np.bincount(dataset.hard_labels, minlength=dataset.num_classes)
    if available.min() < images_per_class:
        raise ValueError(
            f"class {dataset.class_names[int(available.argmin())]} has {available.min()} pictures, "
            f"images_per_class is {images_per_class}"
        )
    realism = realism_scores(
        dataset,
        teacher,
        num_crops=num_crops,
        min_crop_scale=min_crop_scale,
        max_rotation_degrees=max_rotation_degrees,
        seed=seed,
    )
    by_class = np.lexsort((-realism.numpy(), dataset.hard_labels))
    first = np.repeat(np.cumsum(available) - available, available)
    rank = np.arange(len(dataset)) - first
    rows = np.sort(by_class[rank < images_per_class])
    return DistilledSet(
        images=dataset.images[rows],
        hard_labels=dataset.hard_labels[rows],
        sample_ids=dataset.sample_ids[rows],
        class_names=dataset.class_names,
    )


@torch.inference_mode()
def realism_scores(
    dataset: LabelledImages,
    teacher: nn.Module,
    *,
    num_crops: int,
    min_crop_scale: float,
    max_rotation_degrees: float,
    seed: int,
) -> torch.Tensor:
    """Average RDED's realism score of each picture over random views.

    Args:
        dataset: N labelled pictures.
        teacher: in eval mode; maps float32 (N, 1, 32, 32) to logits (N, num_classes).
        num_crops: views per picture.
        min_crop_scale: smallest share of the picture in a view.
        max_rotation_degrees: views are rotated within ± this.
        seed: of the views.

    Returns:
        float32, shape (N,), mean log-probability of the hard label: at most 0, higher is better.
    """
    generator = torch.Generator().manual_seed(seed)
    scores = []
    for images, labels in zip(
        dataset.image_tensor().split(_BATCH), dataset.label_tensor().split(_BATCH), strict=True
    ):
        score = torch.zeros(len(images))
        for _ in range(num_crops):
            views = random_geometry(
                images,
                max_rotation_degrees=max_rotation_degrees,
                min_crop_scale=min_crop_scale,
                generator=generator,
            )
            score -= F.cross_entropy(teacher(views), labels, reduction="none")
        scores.append(score / num_crops)
    return torch.cat(scores)
