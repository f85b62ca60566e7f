"""Dense label files, read in blocks: `.npy` and `.safetensors`, never loaded whole.

Rows are read, not mapped: every touched page of a mapping counts as resident memory, which would
grow with the rows read until it is as large as the file.
"""

import json
import math
import struct
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelcast.codec.finite import all_finite
from labelcast.errors import LabelFileError, LabelValueError

_MAX_HEADER_BYTES = 2**26
_SAFETENSORS_DTYPES = {"F16": "<f2", "F32": "<f4", "BF16": "<u2"}

LabelBlock = NDArray[np.float16] | NDArray[np.float32]


class LabelRows(Protocol):
    """Soft labels by row number, as fitting and encoding read them."""

    @property
    def num_rows(self) -> int:
        """N."""
        ...

    @property
    def num_classes(self) -> int:
        """C."""
        ...

    @property
    def rows_per_seed(self) -> int | None:
        """Rows of one augmentation seed if rows are seed-major, else None."""
        ...

    def read(self, start: int, stop: int) -> LabelBlock:
        """Rows start to stop - 1: finite, float16 or float32, newly allocated."""
        ...

    def gather(self, rows: NDArray[np.int64]) -> LabelBlock:
        """Rows in the order given: finite, float16 or float32, newly allocated."""
        ...


@dataclass(frozen=True, eq=False)
class LabelFile:
    """Rows of soft labels in a file, which is reopened for every read: nothing to close.

    Attributes:
        path: path of the file.
        rows_per_seed: N of a file of shape (seeds, N, C), whose rows are flattened seed-major;
            None for a file of shape (rows, C).
        num_rows: number of rows; seeds times samples if the file has three axes.
        num_classes: values in a row.
    """

    path: Path
    rows_per_seed: int | None
    num_rows: int
    num_classes: int
    _stored: np.dtype[Any]
    _offset: int
    _is_bf16: bool = False

    def expect_classes(self, num_classes: int) -> None:
        """Refuse a file with another number of classes.

        Raises:
            LabelFileError: the number differs.
        """
        if self.num_classes != num_classes:
            raise LabelFileError(
                f"{self.path} has {self.num_classes} classes a row, expected {num_classes}",
                path=self.path,
            )

    def read(self, start: int, stop: int) -> LabelBlock:
        """Read consecutive rows.

        Returns:
            float16 as stored, else float32; shape (stop - start, C), newly allocated.

        Raises:
            LabelFileError: the range is outside the file, or the file has become shorter.
            LabelValueError: a row holds NaN or infinity; names the first.
        """
        if not 0 <= start <= stop <= self.num_rows:
            raise LabelFileError(f"{self.path} has no rows {start} to {stop}", path=self.path)
        return self._read_runs(np.arange(start, stop))

    def gather(self, rows: NDArray[np.int64]) -> LabelBlock:
        """Read rows in the order given; consecutive ones are read together.

        Args:
            rows: integers, shape (n,).

        Returns:
            See `read`; shape (n, C).

        Raises:
            See `read`.
        """
        if rows.size and not (rows.min() >= 0 and rows.max() < self.num_rows):
            raise LabelFileError(f"{self.path} has only {self.num_rows} rows", path=self.path)
        return self._read_runs(rows)

    def _read_runs(self, rows: NDArray[np.int64]) -> LabelBlock:
        stored = np.empty((len(rows), self.num_classes), self._stored)
        content = stored.reshape(-1).view(np.uint8).data
        row_bytes = self.num_classes * self._stored.itemsize
        firsts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        bounds = [*firsts.tolist(), len(rows)]
        try:
            # Unbuffered: a buffer would read on beyond every run.
            with self.path.open("rb", buffering=0) as file:
                for first, row, last in zip(
                    bounds[:-1], rows[firsts].tolist(), bounds[1:], strict=True
                ):
                    part = content[first * row_bytes : last * row_bytes]
                    file.seek(self._offset + row * row_bytes)
                    self._fill(file, part)
        except OSError as error:
            reason = error.strerror or error
            raise LabelFileError(f"cannot read {self.path}: {reason}", path=self.path) from None
        values: LabelBlock
        if self._is_bf16:
            values = (stored.astype(np.uint32) << 16).view(np.float32)
        else:
            values = stored.astype(self._stored.newbyteorder("="), copy=False)
        check_finite(values, rows)
        return values

    def _fill(self, file: FileIO, part: memoryview) -> None:
        # One call reads at most 2 GiB.
        while part:
            count = file.readinto(part)
            if not count:
                raise LabelFileError(
                    f"{self.path} has become shorter since it was opened", path=self.path
                )
            part = part[count:]


def open_label_file(path: Path | str, *, tensor: str | None = None) -> LabelFile:
    """Open a label file.

    Args:
        path: `.npy` or `.safetensors`, of shape (rows, C) or, seed-major, (seeds, samples, C).
        tensor: name of the tensor in a safetensors file; needed only if there are several.

    Returns:
        The file's rows; values are checked as they are read.

    Raises:
        LabelFileError: it is missing, truncated, pickled, empty, or of another type or shape.
    """
    path = Path(path)
    if not path.exists():
        raise LabelFileError(
            f"{path} is not there; give a directory that `labelcast relabel` or `labelcast import`"
            " wrote, or a .npy or .safetensors file",
            path=path,
        )
    try:
        if path.suffix == ".npy":
            if tensor is not None:
                raise LabelFileError(f"{path} is an npy file, which has no tensor names")
            return _label_file(path, *_locate_npy(path))
        if path.suffix == ".safetensors":
            shape, stored, offset, dtype = _locate_safetensors(path, tensor)
            return _label_file(path, shape, stored, offset, is_bf16=dtype == "BF16")
    except OSError as error:
        raise LabelFileError(f"cannot read {path}: {error.strerror or error}", path=path) from None
    raise LabelFileError(
        f"{path} is neither .npy nor .safetensors; save it with np.save, or turn it into dense"
        " labels with `labelcast import`",
        path=path,
    )


def check_finite(values: NDArray[Any], rows: NDArray[np.int64] | None = None) -> None:
    """Refuse NaN and infinity.

    Args:
        values: shape (n, C).
        rows: row numbers for messages; by default their positions in `values`.

    Raises:
        LabelValueError: a row holds NaN or infinity; names the first in `values`.
    """
    if not all_finite(values):
        finite = np.isfinite(values)
        first = int(np.argmin(finite.all(axis=1)))
        row = first if rows is None else int(rows[first])
        raise LabelValueError(
            f"row {row} holds NaN or infinity; relabel or drop that view", row=row
        )


def _label_file(
    path: Path,
    shape: tuple[int, ...],
    stored: np.dtype[Any],
    offset: int,
    *,
    is_bf16: bool = False,
) -> LabelFile:
    if len(shape) not in (2, 3):
        raise LabelFileError(
            f"{path} has shape {shape}; labels are (rows, classes), or (seeds, samples, classes)",
            path=path,
        )
    if 0 in shape:
        raise LabelFileError(f"{path} is empty: shape {shape}", path=path)
    if not is_bf16 and (stored.kind != "f" or stored.itemsize not in (2, 4)):
        raise LabelFileError(
            f"{path} holds {stored}; save float16 or float32 (for instance"
            " labels.astype(np.float32))",
            path=path,
        )
    rows_per_seed = shape[1] if len(shape) == 3 else None
    num_rows = math.prod(shape[:-1])
    return LabelFile(path, rows_per_seed, num_rows, shape[-1], stored, offset, is_bf16)


def _locate_npy(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    try:
        # Mapped for a moment and not touched: numpy checks header and size.
        values = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise LabelFileError(f"{path} is truncated, pickled or no npy file: {error}") from None
    if not values.flags.c_contiguous:
        raise LabelFileError(
            f"{path} is in Fortran order, whose rows are scattered over the file; save"
            " np.ascontiguousarray(labels)",
            path=path,
        )
    return values.shape, values.dtype, values.offset


def _locate_safetensors(
    path: Path, tensor: str | None
) -> tuple[tuple[int, ...], np.dtype[Any], int, str]:
    broken = LabelFileError(f"{path} is truncated or no safetensors file", path=path)
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        header_bytes = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MAX_HEADER_BYTES + 1
        if header_bytes > min(_MAX_HEADER_BYTES, size - 8):
            raise broken
        text = file.read(header_bytes)
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        entry = header[_only_tensor(path, sorted(header), tensor)]
        dtype, shape = str(entry["dtype"]), tuple(int(side) for side in entry["shape"])
        first, last = (int(offset) for offset in entry["data_offsets"])
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise broken from None
    if dtype not in _SAFETENSORS_DTYPES:
        raise LabelFileError(
            f"{path} holds {dtype}; save F16, F32 or BF16 (for instance labels.float())", path=path
        )
    stored = np.dtype(_SAFETENSORS_DTYPES[dtype])
    # Python integers: a product of hostile sizes must not wrap around.
    expected = stored.itemsize
    for side in shape:
        expected *= side
    if min(shape, default=0) <= 0 or not first >= 0 or last - first != expected:
        raise broken
    if 8 + header_bytes + last > size:
        raise broken
    return shape, stored, 8 + header_bytes + first, dtype


def _only_tensor(path: Path, names: list[str], tensor: str | None) -> str:
    if tensor is None and len(names) == 1:
        return names[0]
    if tensor is None or tensor not in names:
        asked = "name one" if tensor is None else f"there is no {tensor!r}"
        raise LabelFileError(f"{path} holds tensors {names}: {asked}", path=path)
    return tensor
