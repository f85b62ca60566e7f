"""Parquet files of lists, for the writers that need them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]


def write_table(
    path: Path, columns: Mapping[str, Sequence[Any]], types: Mapping[str, tuple[str, int]]
) -> None:
    """Write one file.

    Args:
        path: of the file.
        columns: values of each row, by column.
        types: of each column: an Arrow type's name, and how many lists it is nested in.
    """
    fields = []
    for name in columns:
        kind, depth = types[name]
        nested = pa.type_for_alias(kind)
        for _ in range(depth):
            nested = pa.list_(nested)
        fields.append(pa.field(name, nested))
    arrays = [pa.array(columns[field.name], type=field.type) for field in fields]
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), path)


def read_table(path: Path) -> dict[str, list[Any]]:
    """The columns of a file as Python lists, for checks of what was written."""
    columns: dict[str, list[Any]] = pq.read_table(path).to_pydict()
    return columns
