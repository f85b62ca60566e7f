"""Labels that `torch.save` wrote as a plain tensor, alone or in a dictionary of tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelFileError
from labelcast_producers.dense.files import LabelBlock, check_finite
from labelcast_producers.formats.arrays.rows import require_integers
from labelcast_producers.torchfile import TensorInfo, read_torch_file, read_torch_structure

SUFFIXES = (".pt", ".pth", ".tar")
Shapes = dict[str, tuple[tuple[int, ...], str]]


def torch_shapes(path: Path) -> Shapes | None:
    """Shapes and types of the tensors of a file by name; "" names a tensor that is alone.

    Returns:
        None where the file holds anything but tensors, or is none that torch wrote.
    """
    try:
        tree = read_torch_structure(path)
    except LabelFileError:
        return None
    named = tree if isinstance(tree, Mapping) else {"": tree}
    if not all(isinstance(name, str) for name in named):
        return None
    if not all(isinstance(each, TensorInfo) for each in named.values()):
        return None
    return {name: (each.shape, each.dtype.name) for name, each in named.items()}


@dataclass(frozen=True, eq=False)
class TensorRows:
    """Rows of a tensor, all in memory, where torch would have them too.

    Attributes:
        num_rows: seeds times samples where there are three axes.
        num_classes: C.
    """

    num_rows: int
    num_classes: int
    _values: NDArray[Any]

    def read(self, start: int, stop: int) -> LabelBlock:
        """See `ArrayRows.read`; float64 becomes float32."""
        block, rows = self._values[start:stop], np.arange(start, stop)
        values: LabelBlock = (
            block.astype(np.float16) if block.itemsize == 2 else block.astype(np.float32)
        )
        check_finite(values, rows)
        return values


def open_tensor(path: Path, labels: str, ids: str) -> tuple[TensorRows, NDArray[np.int64] | None]:
    """Labels of a file, and the sample IDs beside them.

    Args:
        path: the file.
        labels: name of the tensor.
        ids: name of the sample IDs; "" where there are none.

    Raises:
        LabelFileError: damaged, or IDs that are none.
    """
    tree = read_torch_file(path)
    values = tree[labels] if isinstance(tree, Mapping) else tree
    classes, samples = values.shape[-1], values.shape[-2]
    rows = TensorRows(values.size // classes, classes, values.reshape(-1, classes))
    if not ids:
        return rows, None
    stored = tree[ids]
    require_integers(path, ids, stored.shape, stored.dtype, samples)
    return rows, stored.astype(np.int64)
