"""Where labels are in a file of arrays, by types and shapes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from safetensors import SafetensorError, safe_open

from labelcast.errors import LabelFileError
from labelcast_producers.formats.arrays.npz import npz_arrays
from labelcast_producers.formats.arrays.parquet import parquet_errors
from labelcast_producers.formats.arrays.rows import NPY_ERRORS
from labelcast_producers.formats.arrays.torch_tensors import SUFFIXES, Shapes, torch_shapes

_IDS = ("sample_ids", "ids")
_ID_COLUMNS = ("sample_id", "sample_ids", "id", "ids")
_SEED_COLUMNS = ("seed", "seeds")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a file holds its labels and IDs.

    Attributes:
        labels: name of the labels; "" in `.npy`.
        shape: shape of the labels, (rows,) in Parquet.
        dtype: type of the labels as stored.
        ids: name of the sample IDs; "" if there are none.
        seeds: name of the seeds' column; "" if there is none.
        others: names of everything else.
    """

    labels: str
    shape: tuple[int, ...]
    dtype: str
    ids: str = ""
    seeds: str = ""
    others: tuple[str, ...] = ()


def layout_of(path: Path) -> Layout | None:
    """Find the labels by types and shapes; None if it is not a file of labels."""
    if not path.is_file():
        return None
    if path.suffix == ".parquet":
        return _parquet_layout(path)
    found = _shapes(path)
    return None if found is None else _named_layout(found)


def why_no_labels(path: Path) -> str | None:
    """Why a file of arrays, as which `layout_of` does not know it, is none of labels.

    Returns:
        One line that says what it holds and what it should; None of other files.
    """
    if path.suffix == ".parquet":
        with parquet_errors(path):
            schema = pq.read_schema(path)
        columns = ", ".join(f"{field.name} {field.type}" for field in schema)
        return f"{path} holds {columns}, where labels are one column of lists of floats; save it so"
    found = _shapes(path)
    if found is None:
        return None
    held = ", ".join(
        f"{name} {dtype} {list(shape)}".lstrip() for name, (shape, dtype) in found.items()
    )
    return (
        f"{path} holds {held or 'nothing'}, where labels are one array of floats, (N, C) or"
        " (seeds, N, C), alone or beside sample_ids; save it so"
    )


def _shapes(path: Path) -> Shapes | None:
    """Shapes and types by name; None if it is not a file of arrays."""
    match path.suffix:
        case ".npy":
            return _npy_shapes(path)
        case ".npz":
            return {name: (each.shape, each.dtype.name) for name, each in npz_arrays(path).items()}
        case ".safetensors":
            return _safetensors_shapes(path)
        case suffix if suffix in SUFFIXES:
            return torch_shapes(path)
    return None


def _npy_shapes(path: Path) -> Shapes:
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except NPY_ERRORS as error:
        raise LabelFileError(f"{path} is truncated, pickled or no npy file: {error}") from None
    return {"": (array.shape, array.dtype.name)}


def _named_layout(found: Shapes) -> Layout | None:
    # Images beside labels are a distilled set.
    if set(found) in ({"x", "y"}, {"image", "label"}):
        return None
    labels = [
        name
        for name, (shape, dtype) in found.items()
        if len(shape) in (2, 3) and dtype.startswith(("float", "bfloat"))
    ]
    if len(labels) != 1:
        return None
    shape, dtype = found[labels[0]]
    ids = next((name for name in _IDS if name in found), "")
    others = tuple(sorted(set(found) - {labels[0], ids}))
    return Layout(labels[0], shape, dtype, ids, "", others)


def _safetensors_shapes(path: Path) -> Shapes:
    found = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - it is no dictionary
                tensor = file.get_slice(name)
                kind = str(tensor.get_dtype())
                word = {"F": "float", "I": "int", "U": "uint"}.get(kind[:1], "")
                dtype = "bfloat16" if kind == "BF16" else word + kind[1:]
                found[name] = (tuple(tensor.get_shape()), dtype)
    except (SafetensorError, OSError) as error:
        raise LabelFileError(
            f"{path} is truncated or no safetensors file ({error}); write it again", path=path
        ) from None
    return found


def _parquet_layout(path: Path) -> Layout | None:
    with parquet_errors(path):
        schema, rows = pq.read_schema(path), pq.read_metadata(path).num_rows
    labels = [field for field in schema if _is_list_of_floats(field.type)]
    if len(labels) != 1:
        return None
    integers = {field.name for field in schema if pa.types.is_integer(field.type)}
    ids = next((name for name in _ID_COLUMNS if name in integers), "")
    seeds = next((name for name in _SEED_COLUMNS if name in integers), "")
    others = tuple(name for name in schema.names if name not in (labels[0].name, ids, seeds))
    kind = str(labels[0].type.value_type)
    return Layout(labels[0].name, (rows,), kind, ids, seeds, others)


def _is_list_of_floats(kind: Any) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in lists) and pa.types.is_floating(kind.value_type)
