"""Rows of labels in Parquet files, streamed: no column is ever in memory as a whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

# pyarrow has no type hints.
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from labelcast.errors import LabelFileError
from labelcast_producers.dense.files import LabelBlock, check_finite
from labelcast_producers.formats.arrays.rows import require_floats

_BATCH_ROWS = 1024


class ParquetRows:
    """Labels in a list column of a Parquet file, one row per view.

    Args:
        path: path of the file.
        column: name of the column with the labels.

    Raises:
        LabelFileError: it has no rows, or labels of another type.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        with parquet_errors(path):
            metadata = pq.read_metadata(path)
            kind = pq.read_schema(path).field(column).type.value_type
            groups = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
        self.num_rows = sum(groups)
        if not self.num_rows:
            raise LabelFileError(f"{path} has no rows", path=path)
        require_floats(path, np.dtype(kind.to_pandas_dtype()))
        self._starts = np.concatenate([[0], np.cumsum(groups)]).astype(np.int64)
        self._row, self._batches = 0, self._from_group(0)
        self._held: NDArray[Any] | None = None
        self.num_classes = 0
        first = self._next()
        self.num_classes = first.shape[1]
        self._held = first

    def read(self, start: int, stop: int) -> LabelBlock:
        """See `ArrayRows.read`."""
        if start < self._row:
            group = int(np.searchsorted(self._starts, start, side="right")) - 1
            self._row, self._held = int(self._starts[group]), None
            self._batches = self._from_group(group)
        pieces = []
        while self._row < stop:
            block = self._next() if self._held is None else self._held
            first = max(start - self._row, 0)
            last = min(stop - self._row, len(block))
            if first < last:
                pieces.append(block[first:last])
            rest = block[last:]
            self._held = rest if len(rest) else None
            self._row += last
        values: LabelBlock = np.concatenate(pieces)
        check_finite(values, np.arange(start, stop))
        return values

    def _next(self) -> NDArray[Any]:
        with parquet_errors(self._path):
            batch = next(self._batches, None)
        if batch is None:
            raise LabelFileError(f"{self._path} has become shorter since it was opened")
        column = batch.column(0)
        _refuse_nulls(self._path, self._column, column, self._row)
        leaves = column.flatten()
        width = self.num_classes or len(column[0])
        wide = pa.types.is_fixed_size_list(column.type)
        lengths = (
            np.full(len(column), column.type.list_size)
            if wide
            else column.value_lengths().to_numpy(zero_copy_only=False)
        )
        if width < 1 or (lengths != width).any():
            row = int(np.argmax(lengths != width))
            raise LabelFileError(
                f"{self._path}, row {self._row + row}: {self._column} has {lengths[row]} classes,"
                f" the first row has {width}; write the file again",
                path=self._path,
            )
        if leaves.null_count:
            row = int(np.argmax(leaves.is_null().to_numpy(zero_copy_only=False))) // width
            raise LabelFileError(
                f"{self._path}, row {self._row + row}: a value of {self._column} is null; write"
                " the file again",
                path=self._path,
            )
        block: NDArray[Any] = leaves.to_numpy(zero_copy_only=False).reshape(-1, width)
        return block

    def _from_group(self, group: int) -> Iterator[Any]:
        # A buffer makes Arrow read a column page by page instead of whole.
        file = pq.ParquetFile(self._path, buffer_size=2**20)
        groups = list(range(group, len(self._starts) - 1))
        batches: Iterator[Any] = file.iter_batches(
            batch_size=_BATCH_ROWS, row_groups=groups, columns=[self._column]
        )
        return (batch for batch in batches if batch.num_rows)


def parquet_integers(path: Path, column: str) -> NDArray[np.int64]:
    """Read a whole column of integers.

    Raises:
        LabelFileError: it holds nulls, or is damaged.
    """
    with parquet_errors(path):
        found = pq.ParquetFile(path).read(columns=[column]).column(0).combine_chunks()
    _refuse_nulls(path, column, found, 0)
    integers: NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
    return integers


def _refuse_nulls(path: Path, name: str, column: Any, first_row: int) -> None:
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
        raise LabelFileError(
            f"{path}, row {first_row + row}: {name} is null; write the file again", path=path
        )


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises into a LabelFileError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise LabelFileError(
            f"{path} is no Parquet file, or is truncated or damaged ({error}); copy it again",
            path=path,
        ) from None
