"""Rows of labels in `.npz` files, streamed: compressed or not, no array is in memory as a whole."""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelFileError
from labelcast_producers.dense.files import LabelBlock, check_finite
from labelcast_producers.formats.arrays.rows import NPY_ERRORS, require_integers

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_PIECE_BYTES = 2**20
# Deflate expands a byte at most this much, so a small file cannot ask for memory it does not fill.
_MOST_INFLATED = 1032


@dataclass(frozen=True, slots=True)
class NpzArray:
    """An array in an `.npz`, as its header describes it.

    Attributes:
        info: member of the zip file.
        header_bytes: size of everything before the values.
        shape: shape of the array.
        dtype: type of the values as stored.
        in_order: whether its rows are contiguous.
    """

    info: zipfile.ZipInfo
    header_bytes: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    in_order: bool


def npz_arrays(path: Path) -> dict[str, NpzArray]:
    """Find every array of a file by its name.

    Raises:
        LabelFileError: it is no `.npz`, damaged, or holds pickled objects.
    """
    arrays = {}
    with _npz_errors(path), zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as file:
                shape, in_columns, dtype = _npy_header(file)
                header = file.tell()
            name = info.filename.removesuffix(".npy")
            if dtype.hasobject:
                raise LabelFileError(
                    f"{path}: the array {name} holds pickled objects, which are never run; save"
                    " numbers (for instance np.stack(labels))",
                    path=path,
                )
            if min(shape, default=0) < 0 or header + prod(shape) * dtype.itemsize != info.file_size:
                raise ValueError(f"{name} is not of the size that its header says")
            if info.file_size > info.compress_size * _MOST_INFLATED + header:
                raise ValueError(f"{name} cannot be as large as it is said to be")
            in_order = not in_columns or len(shape) < 2
            arrays[name] = NpzArray(info, header, shape, dtype, in_order)
    return arrays


class NpzRows:
    """Labels of an array in an `.npz`, compressed or not; reopened for every read.

    Args:
        path: path of the file.
        array: float array of shape (N, C) or (seeds, N, C).

    Raises:
        LabelFileError: the array has no rows, or rows that are not contiguous.
    """

    def __init__(self, path: Path, array: NpzArray) -> None:
        name = array.info.filename
        if not array.in_order:
            raise LabelFileError(
                f"{path}: {name} is in Fortran order, whose rows are scattered; save"
                " np.ascontiguousarray(labels)",
                path=path,
            )
        if 0 in array.shape:
            raise LabelFileError(f"{path}: {name} is empty: {array.shape}", path=path)
        self.num_classes = array.shape[-1]
        self.num_rows = prod(array.shape[:-1])
        self._path, self._array = path, array
        self._row_bytes = self.num_classes * array.dtype.itemsize
        self._stream: _Stream | None = None

    def read(self, start: int, stop: int) -> LabelBlock:
        """See `ArrayRows.read`."""
        first = self._array.header_bytes + start * self._row_bytes
        stored = np.empty((stop - start, self.num_classes), self._array.dtype)
        with _npz_errors(self._path), self._path.open("rb") as file:
            if self._stream is None or first < self._stream.position:
                self._stream = _Stream(file, self._array.info)
            # Removed while in use, so that a stream that failed half-way is not used again.
            stream, self._stream = self._stream, None
            while stream.position < first:
                stream.read(file, min(first - stream.position, _PIECE_BYTES))
            stream.fill(file, stored.reshape(-1).view(np.uint8).data)
        self._stream = stream
        values: LabelBlock = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        check_finite(values, np.arange(start, stop))
        return values


class _Stream:
    """Position in a member of a zip file that is being read.

    `zipfile` would keep the file open, which nobody would close.

    Args:
        file: open zip file.
        info: member to read.
    """

    def __init__(self, file: IO[bytes], info: zipfile.ZipInfo) -> None:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{info.filename} is compressed in a way that numpy does not write")
        file.seek(info.header_offset)
        magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
        if magic != b"PK\x03\x04":
            raise ValueError(f"{info.filename} is not where the directory says")
        self._info = info
        self._at = file.tell() + name_bytes + extra_bytes
        self._left = info.compress_size
        deflated = info.compress_type == zipfile.ZIP_DEFLATED
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if deflated else None
        self._waiting = b""
        self._crc = 0
        self.position = 0

    def fill(self, file: IO[bytes], content: memoryview) -> None:
        """Read until `content` is full."""
        while content:
            piece = self.read(file, min(len(content), _PIECE_BYTES))
            content[: len(piece)] = piece
            content = content[len(piece) :]

    def read(self, file: IO[bytes], most: int) -> bytes:
        """Read some bytes, at least one."""
        piece = b""
        while not piece:
            if not self._waiting:
                file.seek(self._at)
                self._waiting = file.read(min(self._left, _PIECE_BYTES))
                if self._left and not self._waiting:
                    raise EOFError(f"the file ends within {self._info.filename}")
                self._at += len(self._waiting)
                self._left -= len(self._waiting)
            if self._inflate is None:
                piece, self._waiting = self._waiting[:most], self._waiting[most:]
            else:
                before = len(self._waiting)
                # The output of one call is bounded, however well it was compressed.
                piece = self._inflate.decompress(self._waiting, most)
                self._waiting = self._inflate.unconsumed_tail
                if not piece and not self._left and len(self._waiting) == before:
                    raise EOFError(f"{self._info.filename} ends early")
            if not piece and self._inflate is None:
                raise EOFError(f"{self._info.filename} ends early")
        self._crc = zlib.crc32(piece, self._crc)
        self.position += len(piece)
        if self.position == self._info.file_size and self._crc != self._info.CRC:
            raise ValueError(f"the checksum of {self._info.filename} is wrong")
        return piece


def npz_integers(path: Path, array: NpzArray, count: int) -> NDArray[np.int64]:
    """Read a small array of integers.

    Args:
        path: path of the file.
        array: array in the file.
        count: number of integers that it must have.

    Raises:
        LabelFileError: its type or number is wrong.
    """
    require_integers(path, array.info.filename, array.shape, array.dtype, count)
    stored = np.empty(count, array.dtype)
    with _npz_errors(path), path.open("rb") as file:
        stream = _Stream(file, array.info)
        while stream.position < array.header_bytes:
            stream.read(file, array.header_bytes - stream.position)
        stream.fill(file, stored.view(np.uint8).data)
    return stored.astype(np.int64)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version} of the npy format is not known")


@contextmanager
def _npz_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (
        *NPY_ERRORS,
        NotImplementedError,
        RuntimeError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise LabelFileError(
            f"{path} is no npz file, or is truncated or damaged ({error}); write it again",
            path=path,
        ) from None
