"""Writes rows of a `.npy` file in any order from any number of processes.

Rows are written, not mapped: a full disk is then an error and does not end the process, and two
machines never write back the same page.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelFileError, StoreFullError
from labelcast.files import sync_descriptor
from labelcast_producers.dense.sole_writer import claim

_HALF = np.dtype("<f2")


@dataclass(frozen=True, slots=True)
class LabelWriter:
    """A `.npy` file of rows, with its full size from the beginning.

    Attributes:
        path: path of the file.
        shape: shape of the array; the last axis holds the classes, the others are rows.
        dtype: type of the values, little-endian.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any] = _HALF

    def check_room(self) -> None:
        """Refuse labels that the disk cannot hold.

        Raises:
            StoreFullError: the disk is too full; says how much is needed and free.
        """
        needed = int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize
        # An earlier run's file is replaced, or is part of what is needed.
        freed = self.path.stat().st_blocks * 512 if self.path.exists() else 0
        available = shutil.disk_usage(self.path.parent).free + freed
        if needed > available:
            raise StoreFullError(
                f"the labels need {needed} bytes, {self.path.parent} has room for {available}; take"
                " fewer views or another disk",
                needed=needed,
                available=available,
            )

    def create(self) -> None:
        """Replace the file by a sparse one of full size.

        Raises:
            BusyError: another run is writing it.
        """
        if self.path.exists():
            with self.path.open("rb") as old:
                claim(old)
        # A process that has mapped the old file keeps it.
        self.path.unlink(missing_ok=True)
        with self.path.open("xb") as file:
            header = np.lib.format.header_data_from_array_1_0(np.empty(0, dtype=self.dtype))
            np.lib.format.write_array_header_1_0(file, header | {"shape": self.shape})
            file.truncate(file.tell() + int(np.prod(self.shape)) * self.dtype.itemsize)

    def exists(self) -> bool:
        """Whether the file exists with this shape."""
        try:
            with self.path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                if version != (1, 0):
                    return False
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                size = file.tell() + int(np.prod(self.shape)) * self.dtype.itemsize
                return (shape, dtype) == (self.shape, self.dtype) and size == os.fstat(
                    file.fileno()
                ).st_size
        except (OSError, ValueError):
            return False

    @contextmanager
    def opened(self) -> Iterator["OpenLabels"]:
        """Open it for this process to write its own rows.

        Raises:
            BusyError: another run is replacing it.
            LabelFileError: the file was replaced.
        """
        if not self.exists():
            raise LabelFileError(f"{self.path} has vanished; relabel again")
        with self.path.open("r+b", buffering=0) as file:
            claim(file, shared=True)
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            yield OpenLabels(file.fileno(), file.tell(), self.shape[-1], self.dtype, self.path)


@dataclass(frozen=True, slots=True)
class OpenLabels:
    """Rows of an open file.

    Attributes:
        descriptor: descriptor of the open file.
        offset: offset of the first row in bytes.
        num_classes: values per row.
        dtype: type of the values.
        path: path of the file.
    """

    descriptor: int
    offset: int
    num_classes: int
    dtype: np.dtype[Any]
    path: Path

    def write(self, first_row: int, labels: NDArray[Any]) -> None:
        """Write consecutive rows.

        Args:
            first_row: number of the first row.
            labels: shape (N, C), of the file's type.

        Raises:
            StoreFullError: the disk is full.
        """
        content = memoryview(labels.astype(self.dtype).tobytes())
        at = self._at(first_row)
        try:
            while content:
                written = os.pwrite(self.descriptor, content, at)
                content, at = content[written:], at + written
        except OSError as error:
            raise StoreFullError(f"cannot write {self.path}: {error.strerror}") from None

    def read(self, first_row: int, count: int) -> NDArray[Any]:
        """Read consecutive rows: shape (count, C), of the file's type, newly allocated."""
        size = count * self.num_classes * self.dtype.itemsize
        content = os.pread(self.descriptor, size, self._at(first_row))
        rows = np.frombuffer(content, dtype=self.dtype).copy()
        return rows.reshape(-1, self.num_classes)

    def sync(self) -> None:
        """Return when everything written is on the disk.

        Raises:
            OSError, StorageError: as `sync_descriptor`.
        """
        sync_descriptor(self.descriptor, self.path)

    def _at(self, row: int) -> int:
        return self.offset + row * self.num_classes * self.dtype.itemsize
