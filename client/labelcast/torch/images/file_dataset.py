"""Data sets whose images lie in files, which can be told apart without being decoded."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from labelcast.errors import InvalidRequestError
from labelcast.label_set.fingerprints import FileReading
from labelcast.torch.images.sample_dataset import SampleDataset


@runtime_checkable
class FileDataset(SampleDataset, Protocol):
    """A `SampleDataset` that says which bytes an item was decoded from.

    The bytes are those of an image's file, or of its record in a larger one. `dataset[i]` must be
    `dataset.decode(dataset.read_bytes(i), i)`: that is what a reader calls that compares the bytes
    on their way. `reading` says in words how bytes become pixels.
    """

    reading: FileReading

    def read_bytes(self, index: int, /) -> bytes:
        """Everything that an image is decoded from."""
        ...

    def decode(self, content: bytes, index: int, /) -> tuple[Tensor, int]:
        """The item that these bytes are."""
        ...


def as_file_dataset(dataset: Any) -> FileDataset | None:
    """The data set, if it is a `FileDataset`.

    Raises:
        InvalidRequestError: a class between overrides `__getitem__` alone, so that `decode` would
            give other pixels.
    """
    if not isinstance(dataset, FileDataset):
        return None
    order = type(dataset).__mro__
    decodes = [kind for kind in order if "decode" in vars(kind)]
    gets = next(kind for kind in order if "__getitem__" in vars(kind))
    if not decodes:
        # A wrapper that passes attributes on: its items are its own.
        return None
    if gets is not decodes[0] and issubclass(gets, decodes[0]):
        raise InvalidRequestError(
            f"{gets.__name__} overrides __getitem__ of {decodes[0].__name__}, whose decode() gives"
            " other pixels: override decode() instead"
        )
    return dataset
