"""Rows of labels by number, and checks of the arrays beside them."""

import tokenize
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from labelcast.errors import LabelFileError
from labelcast_producers.dense.files import LabelBlock

# What numpy raises on the header of a damaged npy file.
NPY_ERRORS = (
    EOFError,
    MemoryError,
    OSError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)


class ArrayRows(Protocol):
    """Rows by number; reading forward is cheap, going back may mean reading from the start."""

    @property
    def num_rows(self) -> int:
        """Number of rows, N; seeds times samples if there are three axes."""
        ...

    @property
    def num_classes(self) -> int:
        """C."""
        ...

    def read(self, start: int, stop: int) -> LabelBlock:
        """Rows start to stop − 1: finite, float16 or float32, newly allocated."""
        ...


def require_integers(
    path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], count: int
) -> None:
    """Refuse an array that is not `count` integers.

    Raises:
        LabelFileError: it is not.
    """
    if shape != (count,) or dtype.kind not in "iu":
        raise LabelFileError(
            f"{path}: {name} is {dtype} of shape {shape}, where {count} integers belong; save one"
            " for each sample",
            path=path,
        )


def require_floats(path: Path, dtype: np.dtype[Any]) -> None:
    """Refuse labels of other types than fp16 and fp32.

    Raises:
        LabelFileError: they have another type.
    """
    if dtype.kind != "f" or dtype.itemsize not in (2, 4):
        raise LabelFileError(
            f"{path} holds {dtype}; save float16 or float32 (for instance"
            " labels.astype(np.float32))",
            path=path,
        )
