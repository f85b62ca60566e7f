"""Glyphs as map-style data sets: samples with stable IDs, hard labels and class names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from labelcast_glyphs.drawing.characters import class_name, glyph_table
from labelcast_glyphs.drawing.faces import Split, face_indices
from labelcast_glyphs.drawing.rendering import IMAGE_SIZE

# A face index fits 4 bits, so an ID says its class and face and never depends on a split.
SAMPLE_ID_STRIDE = 16

_Scalar = TypeVar("_Scalar", bound=np.generic)


class LabelledImages(Dataset[tuple[torch.Tensor, int]]):
    """Grey pictures with sample IDs and hard labels, held in memory.

    The columns are checked against each other and kept as read-only views.

    Args:
        images: uint8, shape (N, 32, 32), N at least 1.
        hard_labels: int64, shape (N,), each in [0, len(class_names)).
        sample_ids: uint64, shape (N,), strictly increasing.
        class_names: distinct names, at least one.

    Raises:
        ValueError: a dtype, shape, order or range other than these.

    Attributes:
        images: uint8, shape (N, 32, 32), 0 is background and 255 full ink; read-only.
        hard_labels: int64, shape (N,), class indices; read-only.
        sample_ids: uint64, shape (N,), strictly increasing; read-only.
        class_names: one per class, e.g. "U+0041 LATIN CAPITAL LETTER A".
    """

    def __init__(
        self,
        images: NDArray[np.uint8],
        hard_labels: NDArray[np.int64],
        sample_ids: NDArray[np.uint64],
        class_names: Sequence[str],
    ) -> None:
        _check_columns(images, hard_labels, sample_ids, class_names)
        self.images = _read_only(images)
        self.hard_labels = _read_only(hard_labels)
        self.sample_ids = _read_only(sample_ids)
        self.class_names = list(class_names)

    @property
    def num_classes(self) -> int:
        """Number of classes, whether or not each has a sample."""
        return len(self.class_names)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Read one sample.

        Args:
            index: position, 0 to len - 1 (negative ones count from the end).

        Returns:
            float32 tensor of shape (1, 32, 32) in [0, 1], newly allocated, and the class index.

        Raises:
            IndexError: no such position.
        """
        image = torch.from_numpy(self.images[index].astype(np.float32) / np.float32(255))
        return image.unsqueeze(0), int(self.hard_labels[index])

    def image_tensor(self) -> torch.Tensor:
        """Return all pictures as float32, shape (N, 1, 32, 32), in [0, 1], newly allocated."""
        return torch.from_numpy(self.images.astype(np.float32) / np.float32(255)).unsqueeze(1)

    def label_tensor(self) -> torch.Tensor:
        """Return all hard labels as int64, shape (N,), newly allocated."""
        return torch.from_numpy(self.hard_labels.copy())

    def digest(self) -> str:
        """Identify the content: sha256 (hex) over sample IDs, labels, pictures and class names."""
        content = hashlib.sha256()
        content.update(json.dumps([len(self), self.class_names], ensure_ascii=True).encode())
        content.update(self.sample_ids.astype("<u8").tobytes())
        content.update(self.hard_labels.astype("<i8").tobytes())
        content.update(self.images.tobytes())
        return content.hexdigest()


class GlyphDataset(LabelledImages):
    """Glyphs-1000 (or another number of classes): one picture per character and face.

    The pictures are drawn once per process and number of classes, in about three seconds for 1,000.

    Args:
        split: "train" (9 faces) or "held_out" (3 faces).
        num_classes: the first so many characters of `labelcast_glyphs.drawing.characters`.

    Raises:
        ValueError: unknown split, or more classes than the fonts share distinct characters.
        FileNotFoundError: matplotlib was packaged without its fonts.
    """

    def __init__(self, split: Split, num_classes: int = 1000) -> None:
        faces = np.array(face_indices(split))
        table = glyph_table(num_classes)
        labels = np.repeat(np.arange(num_classes, dtype=np.int64), len(faces))
        ids = labels * SAMPLE_ID_STRIDE + np.tile(faces, num_classes)
        super().__init__(
            images=table.images[:, faces].reshape(-1, IMAGE_SIZE, IMAGE_SIZE),
            hard_labels=labels,
            sample_ids=ids.astype(np.uint64),
            class_names=[class_name(point) for point in table.code_points],
        )
        self.split = split


def _read_only(column: NDArray[_Scalar]) -> NDArray[_Scalar]:
    view = column.view()
    view.flags.writeable = False
    return view


def _check_columns(
    images: NDArray[np.uint8],
    hard_labels: NDArray[np.int64],
    sample_ids: NDArray[np.uint64],
    class_names: Sequence[str],
) -> None:
    rows = len(sample_ids) if sample_ids.ndim == 1 else -1
    for name, column, dtype, shape in (
        ("images", images, np.uint8, (rows, IMAGE_SIZE, IMAGE_SIZE)),
        ("hard_labels", hard_labels, np.int64, (rows,)),
        ("sample_ids", sample_ids, np.uint64, (rows,)),
    ):
        if column.dtype != dtype:
            raise ValueError(f"{name} must be {np.dtype(dtype)}, not {column.dtype}")
        if column.shape != shape:
            raise ValueError(f"{name} has shape {column.shape}, expected {shape}")
    if rows < 1:
        raise ValueError("a data set needs at least one sample")
    if not (sample_ids[1:] > sample_ids[:-1]).all():
        raise ValueError("sample_ids must be strictly increasing")
    if len(set(class_names)) != len(class_names):
        raise ValueError("class_names must be distinct")
    if hard_labels.min() < 0 or hard_labels.max() >= len(class_names):
        raise ValueError(f"hard_labels must lie in [0, {len(class_names)})")
