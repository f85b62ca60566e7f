"""Images that are compared with the teacher's when they are first read."""

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from labelcast.errors import (
    DifferentImageError,
    InvalidRequestError,
    MisalignedLabelsError,
)
from labelcast.label_set.fingerprints import (
    FingerprintKind,
    SampleFingerprints,
    fingerprint,
    pixel_fingerprint,
)
from labelcast.label_set.student_side import UNCHECKED, Unchecked
from labelcast.torch.images.file_dataset import FileDataset, as_file_dataset
from labelcast.torch.images.sample_dataset import SampleDataset
from labelcast.torch.images.samples import SampleTable
from labelcast.torch.sources import LabelSource


class UncomparedImagesWarning(UserWarning):
    """A label set has no fingerprints, so nobody can say whether images are the teacher's."""


class ComparedDataset(Dataset[tuple[Tensor, int]]):
    """A `SampleDataset` that refuses an image that is not the one the labels were made of.

    An image is compared when this process first reads it, in a DataLoader's worker where that
    reads it, and never again: nothing is scanned, whatever part of the data set is read. A file
    that is replaced between two reads of one process is not noticed.

        dataset = ComparedDataset(dataset, label_set.fingerprints())

    Args:
        dataset: any `SampleDataset`.
        fingerprints: of the label set. Samples that it does not have are not compared.

    Raises:
        InvalidRequestError: the fingerprints are of files, and the data set has none.
        DifferentImageError: it decodes files into other pixels than the teacher saw.
    """

    def __init__(self, dataset: Any, fingerprints: SampleFingerprints) -> None:
        table = SampleTable(dataset)
        self._dataset: SampleDataset = table.dataset
        self._files = _files_of(dataset, fingerprints)
        self.sample_ids = np.asarray(dataset.sample_ids).astype(np.uint64)
        self.class_names = dataset.class_names
        hard_labels = getattr(dataset, "hard_labels", None)
        if hard_labels is not None:
            self.hard_labels = hard_labels
        known = fingerprints.known(self.sample_ids)
        self._expected = np.zeros(len(self.sample_ids), dtype=np.uint64)
        self._expected[known] = fingerprints.of(self.sample_ids[known])
        # One bit a sample and process; a worker's copy is its own.
        self._done = np.packbits(~known, bitorder="little")

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int, /) -> tuple[Tensor, int]:
        """As the data set's own.

        Raises:
            DifferentImageError: names the sample, and its path where the data set has `paths`.
        """
        index = range(len(self))[index]
        byte, bit = index >> 3, np.uint8(1 << (index & 7))
        if self._done[byte] & bit:
            return self._dataset[index]
        if self._files is None:
            item = self._dataset[index]
            self._require(index, pixel_fingerprint(item[0].numpy()))
        else:
            # Compared before it is decoded: what replaced the file may be no image at all.
            content = self._files.read_bytes(index)
            self._require(index, fingerprint(content))
            item = self._files.decode(content, index)
        self._done[byte] |= bit
        return item

    def _require(self, index: int, found: int) -> None:
        if found == int(self._expected[index]):
            return
        sample_id = int(self.sample_ids[index])
        paths = getattr(self._dataset, "paths", None)
        where = "" if paths is None else f" ({paths[index]})"
        what = "pixels" if self._files is None else "the bytes of its file"
        raise DifferentImageError(
            f"the image of sample ID {sample_id}{where} is not the one that the labels were made"
            f" of: {what} differ. Restore the images that the teacher saw, under their names; or"
            " make labels of these",
            sample_id=sample_id,
            path=None if paths is None else paths[index],
        )


def _files_of(dataset: Any, fingerprints: SampleFingerprints) -> FileDataset | None:
    reading = fingerprints.reading
    if fingerprints.kind is FingerprintKind.PIXELS or reading is None:
        return None
    files = as_file_dataset(dataset)
    if files is None:
        raise InvalidRequestError(
            "the label set has fingerprints of files, and"
            f" {type(dataset).__name__} gives no files: give it read_bytes and decode (see"
            " labelcast.torch.FileDataset), or leave images uncompared with"
            " fingerprints=UNCHECKED"
        )
    if files.reading.decoding != reading.decoding:
        raise DifferentImageError(
            f"the teacher's images were decoded as {reading.decoding}, this data set decodes files"
            f" as {files.reading.decoding}: give it the same size and channels"
        )
    return files


def fingerprints_of(
    source: LabelSource | None, given: SampleFingerprints | Unchecked | Literal["compared"]
) -> SampleFingerprints | Unchecked | None:
    """What images are compared with; fetched only if it is not given."""
    if isinstance(given, SampleFingerprints):
        return given
    return UNCHECKED if source is None or isinstance(given, Unchecked) else source.fingerprints


def require_fingerprints(fingerprints: SampleFingerprints, sample_ids: NDArray[np.uint64]) -> None:
    """Refuse fingerprints that leave an image uncompared.

    Args:
        fingerprints: those at hand.
        sample_ids: uint64: samples whose images are shown.

    Raises:
        MisalignedLabelsError: one of them has none.
    """
    lacking = sample_ids[~fingerprints.known(sample_ids)]
    if len(lacking):
        raise MisalignedLabelsError(
            f"the fingerprints given lack sample ID {lacking[0]} ({len(lacking)} of"
            f" {len(sample_ids)} that are shown); name samples that they have, with"
            " sample_ids=fingerprints.sample_ids"
        )


def compared(
    table: SampleTable, fingerprints: SampleFingerprints | Unchecked | None
) -> SampleTable:
    """The same data set, comparing images as far as there is something to compare them with.

    Raises:
        As `ComparedDataset`.
    """
    if isinstance(fingerprints, Unchecked):
        return table
    if fingerprints is None:
        # Python shows it once a process: it comes from one line.
        warnings.warn(
            "the label set has no fingerprints of the teacher's images, so that other images under"
            " the same sample IDs go unnoticed; fingerprints=UNCHECKED says that this is meant",
            UncomparedImagesWarning,
            stacklevel=1,
        )
        return table
    return SampleTable(ComparedDataset(table.dataset, fingerprints))
