"""Tensors as the file describes them: checked at once, read on request."""

import math
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from labelcast_producers.torchfile.archive import Archive
from labelcast_producers.torchfile.limits import Limits

# What numpy 1.26 can hold; torch has no more than 64.
_MAX_DIMENSIONS = 32
_MAX_BYTES = 2**62


@dataclass(frozen=True, slots=True)
class StoredType:
    """One of torch's types of values.

    Attributes:
        name: torch's name, such as `bfloat16`.
        stored: type of the bytes in the file.
        dtype: type of the array that they become.
    """

    name: str
    stored: np.dtype[Any]
    dtype: np.dtype[Any]


def _same(name: str) -> StoredType:
    stored = np.dtype(name).newbyteorder("<")
    return StoredType(name, stored, stored)


BFLOAT16 = StoredType("bfloat16", np.dtype("<u2"), np.dtype("<f4"))
STORAGE_TYPES = {
    "BFloat16Storage": BFLOAT16,
    "BoolStorage": _same("bool"),
    "ByteStorage": _same("uint8"),
    "CharStorage": _same("int8"),
    "DoubleStorage": _same("float64"),
    "FloatStorage": _same("float32"),
    "HalfStorage": _same("float16"),
    "IntStorage": _same("int32"),
    "LongStorage": _same("int64"),
    "ShortStorage": _same("int16"),
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Type and shape of a tensor or array that was not read.

    Attributes:
        dtype: type of the array that reading would give; float32 for bfloat16.
        shape: lengths of its axes, () for a single value.
        stored: torch's or numpy's name of the type in the file, such as `bfloat16`.
        is_tensor: whether it is a tensor of torch, not a pickled numpy array.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    stored: str
    is_tensor: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Values that tensors are views of: one entry of the archive.

    Attributes:
        key: name of the entry.
        type: type of the values.
        num_values: number of values.
    """

    key: str
    type: StoredType
    num_values: int
    _storages: "Storages" = field(repr=False)

    def read(self) -> NDArray[Any]:
        """Read the memory of all values; the type of the array itself means nothing.

        Returns:
            Read-only, contiguous, owner of its memory; the same array for as long as any view of it
            is alive.
        """
        return self._storages.read(self)


class Storages:
    """The storages of one file: each is described once, and read once for all its tensors.

    Args:
        archive: archive that stays open for as long as values are read.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._storages: dict[str, Storage] = {}
        # Weak, so that a file of many batches can be read batch by batch in the memory of one.
        # Owners of memory, since a view of a view refers only to the owner.
        self._memory: WeakValueDictionary[str, NDArray[Any]] = WeakValueDictionary()

    def describe(self, stored: StoredType, key: str, num_values: int) -> Storage:
        """Return the storage that a reference in the pickle means.

        Raises:
            LabelFileError: the entry is missing, or of another size or type than stated.
        """
        known = self._storages.get(key)
        if known is not None:
            if (known.type, known.num_values) != (stored, num_values):
                raise self._archive.errors.damaged(f"storage {key} is said to be of two types")
            return known
        num_bytes = self._archive.size_of(f"data/{key}")
        if num_bytes is None:
            raise self._archive.errors.damaged(f"it has no data/{key}")
        if num_bytes != num_values * stored.stored.itemsize:
            raise self._archive.errors.damaged(f"data/{key} is not of the size that it should be")
        storage = Storage(key, stored, num_values, self)
        self._storages[key] = storage
        return storage

    def read(self, storage: Storage) -> NDArray[Any]:
        """See `Storage.read`."""
        memory = self._memory.get(storage.key)
        if memory is None:
            memory = self._decode(storage)
            memory.setflags(write=False)
            self._memory[storage.key] = memory
        return memory

    def _decode(self, storage: Storage) -> NDArray[Any]:
        content = self._archive.read_values(f"data/{storage.key}")
        if storage.type is BFLOAT16:
            # The upper half of a float32.
            widened = content.view("<u2").astype("<u4")
            widened <<= 16
            return widened
        # Numpy counts truths by adding bytes: one of 2 would make it write out of bounds.
        if storage.type.dtype == np.bool_ and content.max(initial=0) > 1:
            raise self._archive.errors.damaged(f"data/{storage.key} holds bytes that are no bool")
        return content


@dataclass(frozen=True, slots=True, eq=False)
class LazyTensor:
    """A tensor in an open file, within the bounds of its storage.

    Attributes:
        shape: lengths of its axes, () for a single value.
    """

    shape: tuple[int, ...]
    _storage: Storage = field(repr=False)
    _offset: int = field(repr=False)
    _strides: tuple[int, ...] = field(repr=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what `read` gives; float32 for bfloat16."""
        return self._storage.type.dtype

    @property
    def info(self) -> TensorInfo:
        """Type and shape, which outlive the file."""
        return TensorInfo(self.dtype, self.shape, self._storage.type.name)

    def read(self) -> NDArray[Any]:
        """Read the values.

        Returns:
            `dtype`, `shape`; a read-only view of the storage, which other tensors may share.

        Raises:
            LabelFileError: the storage is cut off or damaged.
            ValueError: the file is closed, and no array of the same storage is alive.
        """
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        itemsize = self.dtype.itemsize
        return np.ndarray(
            self.shape,
            self.dtype,
            buffer=self._storage.read(),
            offset=self._offset * itemsize,
            strides=tuple(stride * itemsize for stride in self._strides),
        )


class Allowance:
    """What the tensors and arrays of one file may still add up to.

    Args:
        archive: archive of the file.
        limits: limits in proportion to its size.
    """

    def __init__(self, archive: Archive, limits: Limits) -> None:
        self._errors = archive.errors
        self._left = archive.num_bytes * limits.max_expansion + limits.free_expansion_bytes

    def spend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        """Count an array.

        Args:
            shape: any shape, as the file states it.
            dtype: type of the array that the values become.

        Raises:
            LabelFileError: numpy could not hold it, or it exceeds the limit.
        """
        if len(shape) > _MAX_DIMENSIONS or any(
            type(side) is not int or not 0 <= side < _MAX_BYTES for side in shape
        ):
            raise self._errors.damaged("a tensor or array has an impossible shape")
        # Numpy multiplies the sides that are not zero, even if one is zero.
        if math.prod(side or 1 for side in shape) * dtype.itemsize >= _MAX_BYTES:
            raise self._errors.excessive("has a tensor or array of an impossible size")
        self._left -= math.prod(shape) * dtype.itemsize
        if self._left < 0:
            raise self._errors.excessive(
                "repeats its values to many times its size",
                advice="save tensor.clone() in place of each",
            )


def fits(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether every value of a strided view lies within its storage.

    Args:
        storage: storage of the values.
        offset: offset of the first value, in values.
        shape: sides of 0 or more; a view without values always fits.
        strides: one stride per side, in values.
    """
    if 0 in shape:
        return True
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    return offset >= 0 and min(strides, default=0) >= 0 and last < storage.num_values
