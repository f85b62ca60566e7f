"""What labelcast needs from a data set: images with stable IDs."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@runtime_checkable
class SampleDataset(Protocol):
    """A map-style torch data set with stable sample IDs.

    `dataset[i]` is (float image of shape (channels, height, width), hard label). `sample_ids` is
    uint64 of shape (len(dataset),): an item keeps its ID when the data set is reordered, filtered
    or extended. `class_names` lists the classes in order. `control_views = False`, if it is there,
    says that nobody may keep thumbnails of it.
    """

    sample_ids: NDArray[np.uint64]
    class_names: Sequence[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Tensor, int]: ...
