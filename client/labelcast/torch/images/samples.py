"""A data set by sample ID, and its identity."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from labelcast.augmentation import require_known
from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.label_set import class_list_digest, dataset_digest
from labelcast.label_set.fingerprints import (
    FingerprintKind,
    SampleFingerprints,
    fingerprint,
    pixel_digest,
    pixel_fingerprint,
)
from labelcast.torch.images.file_dataset import as_file_dataset
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
        if not len(dataset):
            raise InvalidRequestError("the data set has no items")
        distinct = len(np.unique(ids))
        if not len(ids) == len(dataset) == distinct:
            raise InvalidRequestError(
                f"sample_ids holds {len(ids)} IDs, {distinct} distinct ones, for {len(dataset)}"
                " items; give every item its own, such as"
                " np.arange(len(dataset), dtype=np.uint64)"
            )

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

    def fingerprints(self, sample_ids: NDArray[np.uint64] | None = None) -> SampleFingerprints:
        """What tells the images of samples from others.

        Of each file's bytes where the data set is a `FileDataset`: files are read, not decoded.
        Else of each image's pixels.

        Args:
            sample_ids: uint64, known and strictly increasing; None for all.
        """
        ids = self.sample_ids if sample_ids is None else sample_ids
        files, reading = as_file_dataset(self.dataset), None
        if files is None:
            kind = FingerprintKind.PIXELS
            values = [pixel_fingerprint(self._pixels(at)) for at in self.positions(ids)]
        else:
            kind, reading = FingerprintKind.FILES, files.reading
            values = [fingerprint(files.read_bytes(int(at))) for at in self.positions(ids)]
        return SampleFingerprints(kind, ids, np.array(values, dtype=np.uint64), reading)

    def digest(self, sample_ids: NDArray[np.uint64] | None = None) -> Digest:
        """Identity of the data set, or of some samples: over every ID with its fingerprint."""
        return self.fingerprints(sample_ids).digest()

    def pixels_digest(self) -> Digest:
        """Identity of the data set in label sets without fingerprints: every image is decoded."""
        digests = (pixel_digest(self._pixels(at)) for at in self._order)
        return dataset_digest(self.sample_ids, digests)

    def class_list(self) -> Digest:
        """Digest of the ordered class names."""
        return class_list_digest(self.dataset.class_names)

    def _pixels(self, at: np.int64) -> NDArray[Any]:
        pixels: NDArray[Any] = self.dataset[int(at)][0].numpy()
        return pixels


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


def chosen_samples(
    sample_ids: ArrayLike | None, known: NDArray[np.uint64]
) -> NDArray[np.uint64] | None:
    """IDs of the samples that a run trains on.

    Args:
        sample_ids: integers, shape (N,); None for all.
        known: uint64: IDs of the data set, in order.

    Raises:
        InvalidRequestError: there are none, or they are no IDs.
        ViewNotFoundError: the data set lacks one.
    """
    if sample_ids is None:
        return None
    chosen = Views.of(sample_ids, 0).sample_ids
    if not len(chosen):
        raise InvalidRequestError(
            "sample_ids is empty, so that there is nothing to train on; name at least one sample,"
            " or leave it out for all"
        )
    require_known(chosen, known)
    return chosen
