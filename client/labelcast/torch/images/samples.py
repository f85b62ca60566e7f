"""A data set by sample ID, and its identity."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.label_set import class_list_digest, dataset_digest
from labelcast.torch.images.sample_dataset import SampleDataset
from labelcast.views import Views


class SampleTable:
    """A data set with its sample IDs, their positions and its digest.

    Args:
        dataset: any `SampleDataset`.

    Raises:
        InvalidRequestError: it lacks what `SampleDataset` requires, is empty, or an ID repeats or
            is not an unsigned integer.
    """

    def __init__(self, dataset: Any) -> None:
        if not isinstance(dataset, SampleDataset):
            raise InvalidRequestError(
                f"{type(dataset).__name__} needs the attributes sample_ids and class_names, and"
                " items (image, hard label): see labelcast.torch.SampleDataset"
            )
        self.dataset: SampleDataset = dataset
        ids = Views.of(dataset.sample_ids, 0).sample_ids
        self._order = np.argsort(ids, kind="stable")
        self.sample_ids: NDArray[np.uint64] = ids[self._order]
        if len(ids) != len(dataset) or (self.sample_ids[1:] == self.sample_ids[:-1]).any():
            raise InvalidRequestError("sample_ids must hold one distinct ID for every item")
        if not len(ids):
            raise InvalidRequestError("the data set has no items")

    def __len__(self) -> int:
        return len(self.sample_ids)

    def positions(self, sample_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Indices into the data set: int64, the shape of `sample_ids`, which must be known."""
        return self._order[np.searchsorted(self.sample_ids, sample_ids)]

    def images(self, sample_ids: NDArray[np.uint64]) -> Tensor:
        """Images of samples: float, shape (N, channels, height, width).

        Raises:
            InvalidRequestError: the images differ in size.
        """
        images = self.image_list(sample_ids)
        if any(image.shape != images[0].shape for image in images):
            raise InvalidRequestError("images of one data set must have one size; resize them")
        return torch.stack(images)

    def image_list(self, sample_ids: NDArray[np.uint64]) -> list[Tensor]:
        """Images of samples, of any sizes: float, shape (channels, height, width) each."""
        return [self.dataset[int(at)][0] for at in self.positions(sample_ids)]

    def reader(self, *, keep_bytes: int) -> "ImageReader":
        """Make a reader for repeated reads; see `ImageReader`."""
        return ImageReader(self, keep_bytes)

    def hard_labels(self) -> NDArray[np.int64]:
        """Hard labels in the order of `self.sample_ids`: int64, shape (S,)."""
        known = getattr(self.dataset, "hard_labels", None)
        if known is not None:
            return np.asarray(known, dtype=np.int64)[self._order]
        return np.asarray([self.dataset[int(at)][1] for at in self._order], dtype=np.int64)

    def digest(self) -> Digest:
        """Digest that identifies the data set: over every sample ID with its pixels."""
        return dataset_digest(self.sample_ids, self._content_digests())

    def class_list(self) -> Digest:
        """Digest of the ordered class names."""
        return class_list_digest(self.dataset.class_names)

    def _content_digests(self) -> Iterator[bytes]:
        for at in self._order:
            image = self.dataset[int(at)][0]
            shape = repr(tuple(image.shape)).encode()
            pixels = np.ascontiguousarray(image.numpy()).astype("<f4").tobytes()
            yield hashlib.sha256(shape + pixels).digest()


class ImageReader:
    """Images by sample ID, from memory if all of them fit.

    Args:
        table: sample table of the data set.
        keep_bytes: limit up to which all images are read once and kept.
    """

    def __init__(self, table: SampleTable, keep_bytes: int) -> None:
        self._table = table
        first = table.images(table.sample_ids[:1])
        fits = first.nbytes * len(table) <= keep_bytes
        self._kept = table.images(table.sample_ids) if fits else None

    def __call__(self, sample_ids: NDArray[np.uint64]) -> Tensor:
        """Read images: float, shape (N, channels, height, width)."""
        if self._kept is None:
            return self._table.images(sample_ids)
        return self._kept[np.searchsorted(self._table.sample_ids, sample_ids)]
