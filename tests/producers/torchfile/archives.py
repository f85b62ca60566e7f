"""Archives like torch's, made of any pickle and any storages."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FOUR_FLOATS = np.arange(4, dtype="<f4").tobytes()


def write_archive(
    path: Path, pickled: bytes, storages: Mapping[str, bytes] | None = None, **records: bytes
) -> Path:
    """Write an archive by hand.

    Args:
        path: where to.
        pickled: content of `data.pkl`.
        storages: content of `data/<key>` by key.
        **records: further entries, such as `byteorder`.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in records.items():
            archive.writestr(f"archive/{name}", content)
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def text(value: str) -> bytes:
    """Pushes a string."""
    content = value.encode()
    return b"X" + len(content).to_bytes(4, "little") + content


def number(value: int) -> bytes:
    """Pushes an integer of up to 255 bytes."""
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def named(name: str) -> bytes:
    """Pushes what a dotted name stands for."""
    module, _, attribute = name.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


def group(*values: bytes) -> bytes:
    """Pushes a tuple."""
    return b"(" + b"".join(values) + b"t"


def storage(key: str = "0", count: int = 4, kind: str = "torch.FloatStorage") -> bytes:
    """Pushes a reference to a storage."""
    return group(text("storage"), named(kind), text(key), text("cpu"), number(count)) + b"Q"


def tensor(
    offset: int = 0,
    shape: tuple[int, ...] = (4,),
    strides: tuple[int, ...] = (1,),
    of: bytes | None = None,
) -> bytes:
    """Pushes a tensor, by default of all values of a storage of four."""
    args = group(
        of or storage(),
        number(offset),
        group(*map(number, shape)),
        group(*map(number, strides)),
        b"\x89",
        named("collections.OrderedDict") + b")R",
    )
    return named("torch._utils._rebuild_tensor_v2") + args + b"R"


DTYPE_STATE = group(number(3), text("<"), b"NNN", number(-1), number(-1), number(0))


def numpy_dtype(name: str, state: bytes = DTYPE_STATE) -> bytes:
    """Pushes a type of numpy's, with its state."""
    return named("numpy.dtype") + group(text(name), b"\x89\x88") + b"R" + state + b"b"


def numpy_scalar(dtype: bytes, content: bytes) -> bytes:
    """Pushes a scalar of numpy's."""
    raw = b"C" + bytes([len(content)]) + content
    return named("numpy.core.multiarray.scalar") + group(dtype, raw) + b"R"


def numpy_array(dtype: bytes, content: bytes, *shape: int, made_of: bytes | None = None) -> bytes:
    """Pushes an array of numpy's, in C order."""
    args = group(made_of or named("numpy.ndarray"), group(number(0)), text("b"))
    raw = b"C" + bytes([len(content)]) + content
    state = group(number(1), group(*map(number, shape)), dtype, b"\x89", raw)
    return named("numpy.core.multiarray._reconstruct") + args + b"R" + state + b"b"


def program(*parts: bytes) -> bytes:
    """A whole pickle of protocol 2."""
    return b"\x80\x02" + b"".join(parts) + b"."


def same(found: Any, expected: Any) -> bool:
    """Whether two trees are equal in types, shapes and values."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, np.ndarray):
        return (
            found.dtype == expected.dtype
            and found.shape == expected.shape
            and bool(np.array_equal(found, expected, equal_nan=found.dtype.kind == "f"))
        )
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(
            same(found[key], value) for key, value in expected.items()
        )
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return bool(found == expected)


def zip_bytes(compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    """A zip file of entries under `archive/`; underscores stand for slashes, `__` for a dot."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries.items():
            record = name.replace("__", ".").replace("_", "/")
            archive.writestr(f"archive/{record}", content)
    return file.getvalue()
