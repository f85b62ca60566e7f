"""The names that a pickle may call, and what stands in for each of them.

Nothing that a file names is ever imported or called: `KNOWN` maps its names to functions of this
module, which check their arguments and build plain values. No other path leads from a name to code.
Arguments are matched by type first and compared afterwards: a numpy value in place of a string
would have its own idea of equality.
"""

import math
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast_producers.torchfile.archive import Archive
from labelcast_producers.torchfile.limits import Limits, printable
from labelcast_producers.torchfile.tensors import (
    STORAGE_TYPES,
    Allowance,
    LazyTensor,
    Storage,
    Storages,
    StoredType,
    fits,
)

_STORAGE_KEY = re.compile(r"[0-9]{1,18}")
_DTYPES = {
    name: np.dtype(f"<{name}")
    for name in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What a permitted name leaves on the pickle's stack: a token, which cannot be called.

    Attributes:
        name: name as in the file.
        construct: function that a call runs; None for names that are only mentioned.
        storage: type of the values, for a storage class.
    """

    name: str
    construct: "Callable[[Constructors, tuple[Any, ...]], Any] | None" = None
    storage: StoredType | None = None


class PendingArray:
    """A pickled numpy array between its two steps: made empty, then given its state."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[Any] | None = None


class Constructors:
    """Builds the values of one file.

    Args:
        archive: archive of the file.
        limits: limits on what its values may cost.
        pickle_bytes: size of its pickle, which bounds the bytes that it holds as text.
    """

    def __init__(self, archive: Archive, limits: Limits, pickle_bytes: int) -> None:
        self._errors = archive.errors
        self._storages = Storages(archive)
        self._allowance = Allowance(archive, limits)
        self._text_bytes_left = pickle_bytes

    def reduce(self, called: object, args: object) -> Any:
        """Return the result of a call in the pickle.

        Raises:
            LabelFileError: `called` is no function, or does not take `args`.
        """
        if type(called) is not Known or called.construct is None:
            raise self._errors.damaged("it calls what is no function")
        if type(args) is not tuple:
            raise self._errors.damaged(f"it calls {called.name} without arguments")
        return called.construct(self, args)

    def set_state(self, target: object, state: object) -> None:
        """Give numpy's types and arrays the state that they are pickled with.

        Raises:
            LabelFileError: `target` takes no state, or not this one.
        """
        if type(target) is PendingArray:
            target.values = self._array(target, state)
        elif isinstance(target, np.dtype):
            self._check_dtype_state(target, state)
        elif type(target) is Known:
            raise self._errors.forbidden(f"{target.name}.__setstate__")
        else:
            raise self._errors.forbidden(f"{type(target).__name__}.__setstate__")

    def persistent(self, reference: object) -> Storage:
        """Return the storage that a persistent ID names.

        Raises:
            LabelFileError: it names none.
        """
        match reference:
            case (
                str(kind),
                Known(storage=StoredType() as stored),
                str(key),
                str(),
                int(count),
            ) if kind == "storage" and _STORAGE_KEY.fullmatch(key) and count >= 0:
                return self._storages.describe(stored, key, count)
        raise self._errors.damaged("a reference to a storage is malformed")

    def tensor(self, args: tuple[Any, ...]) -> LazyTensor:
        """`torch._utils._rebuild_tensor_v2`: a strided view of a storage."""
        match args:
            # After the last of these come flags of conjugate and negated views.
            case (
                Storage() as storage,
                int(offset),
                tuple(shape),
                tuple(strides),
                bool(),
                hooks,
            ) if type(hooks) is OrderedDict and not hooks:
                pass
            case _:
                raise self._errors.damaged("a tensor is described in a way that torch never does")
        self._allowance.spend(shape, storage.type.dtype)
        if (
            len(strides) != len(shape)
            or any(type(stride) is not int for stride in strides)
            or not fits(storage, offset, shape, strides)
        ):
            raise self._errors.damaged("a tensor reaches beyond its storage")
        # A stride that is never taken may have any value, even one too large for numpy.
        taken = tuple(
            stride if side > 1 else 0 for side, stride in zip(shape, strides, strict=True)
        )
        return LazyTensor(shape, storage, offset, taken)

    def ordered_dict(self, args: tuple[Any, ...]) -> OrderedDict[Any, Any]:
        """`collections.OrderedDict`, which is filled afterwards."""
        if args:
            raise self._errors.damaged("an OrderedDict is made from something")
        return OrderedDict()

    def dtype(self, args: tuple[Any, ...]) -> np.dtype[Any]:
        """`numpy.dtype`: of numbers only."""
        match args:
            case (str(name), bool(), bool()) if name in _DTYPES:
                return _DTYPES[name]
            case (str(name), *_):
                raise self._errors.foreign(
                    f"holds numpy data of type {printable(name)!r}, which is not numbers; save"
                    " numbers only"
                )
        raise self._errors.damaged("a numpy type is malformed")

    def scalar(self, args: tuple[Any, ...]) -> np.generic:
        """`numpy._core.multiarray.scalar`: one number out of its bytes."""
        match args:
            case (np.dtype() as dtype, bytes(content)) if len(content) == dtype.itemsize:
                value: np.generic = self._numbers(dtype, content)[0]
                return value
        raise self._errors.damaged("a numpy scalar is malformed")

    def pending_array(self, args: tuple[Any, ...]) -> PendingArray:
        """`numpy._core.multiarray._reconstruct`: an array that waits for its state."""
        match args:
            case (Known() as made, tuple(), str() | bytes()) if made is KNOWN["numpy.ndarray"]:
                return PendingArray()
        raise self._errors.damaged("a numpy array is malformed")

    def encoded(self, args: tuple[Any, ...]) -> bytes:
        """`_codecs.encode` in Latin-1: how protocol 2 writes bytes."""
        match args:
            case (str(text), str(encoding)) if encoding == "latin1":
                # One text may be encoded over and over, each time into new memory.
                self._text_bytes_left -= len(text)
                if self._text_bytes_left < 0:
                    raise self._errors.excessive("encodes more text than it holds")
                try:
                    return text.encode("latin1")
                except UnicodeEncodeError:
                    pass
        raise self._errors.damaged("bytes written as text are malformed")

    def empty_bytes(self, args: tuple[Any, ...]) -> bytes:
        """`__builtin__.bytes` without arguments: how protocol 2 writes no bytes."""
        if args:
            raise self._errors.forbidden("__builtin__.bytes")
        return b""

    def _array(self, target: PendingArray, state: object) -> NDArray[Any]:
        match state:
            case (
                int(version),
                tuple(shape),
                np.dtype() as dtype,
                bool(is_fortran),
                bytes(content),
            ) if version == 1 and target.values is None:
                pass
            case _:
                raise self._errors.damaged("the state of a numpy array is malformed")
        self._allowance.spend(shape, dtype)
        values = self._numbers(dtype, content)
        if math.prod(shape) != values.size:
            raise self._errors.damaged("a numpy array is not of the size that it should be")
        return values.reshape(shape, order="F" if is_fortran else "C")

    def _numbers(self, dtype: np.dtype[Any], content: bytes) -> NDArray[Any]:
        if len(content) % dtype.itemsize:
            raise self._errors.damaged("a numpy array is not of the size that it should be")
        # As for storages of bool.
        if dtype == np.bool_ and content.strip(b"\x00\x01"):
            raise self._errors.damaged("a numpy array holds bytes that are no bool")
        return np.frombuffer(content, dtype)

    def _check_dtype_state(self, dtype: np.dtype[Any], state: object) -> None:
        match state:
            case (int(), str(order), None, None, None, int(), int(), int()) if order in "<|=":
                return
            case (int(), str(order), *_) if order == ">":
                raise self._errors.foreign(
                    "holds big-endian numpy data; save it again as little-endian"
                )
        raise self._errors.damaged(f"the state of numpy type {dtype} is malformed")


_CALLED: dict[str, Callable[[Constructors, tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor_v2": Constructors.tensor,
    "collections.OrderedDict": Constructors.ordered_dict,
    "numpy.dtype": Constructors.dtype,
    # Numpy 2 renamed its core; both write the same arguments.
    "numpy._core.multiarray.scalar": Constructors.scalar,
    "numpy.core.multiarray.scalar": Constructors.scalar,
    "numpy._core.multiarray._reconstruct": Constructors.pending_array,
    "numpy.core.multiarray._reconstruct": Constructors.pending_array,
    "_codecs.encode": Constructors.encoded,
    "__builtin__.bytes": Constructors.empty_bytes,
}
KNOWN = {
    **{name: Known(name, construct=construct) for name, construct in _CALLED.items()},
    **{
        f"torch.{name}": Known(f"torch.{name}", storage=stored)
        for name, stored in STORAGE_TYPES.items()
    },
    "numpy.ndarray": Known("numpy.ndarray"),
}
