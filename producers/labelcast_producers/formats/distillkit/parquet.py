"""Parquet files of DistillKit's schema, read a few sequences at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# pyarrow has no type hints, and is imported nowhere else.
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from labelcast.codec.sparse.distillkit.decompress import Bytes
from labelcast.codec.sparse.distillkit.settings import Settings
from labelcast.errors import LabelFileError
from labelcast_producers.formats.shared.stamps import Stamps

TOKENS, VALUES, INDICES = "input_ids", "compressed_logprobs", "bytepacked_indices"
LEGACY_COLUMNS = ("packed_indices", "exact_values", "coeffs")
# What one read takes from the file; Arrow briefly needs several times as much.
_BATCH_BYTES = 4 * 2**20


@dataclass(frozen=True, eq=False, slots=True)
class Sequences:
    """Consecutive sequences of a file.

    Attributes:
        first_row: number of the first sequence in its file.
        num_tokens: int64, shape (r,): input tokens of each.
        num_labels: int64, shape (r,): labels of each; n in all.
        values: uint8, shape (n, settings.value_bytes).
        indices: uint8, shape (n, settings.index_bytes).
    """

    first_row: int
    num_tokens: NDArray[np.int64]
    num_labels: NDArray[np.int64]
    values: Bytes
    indices: Bytes


def is_distillkit(path: Path) -> bool:
    """Whether a file has the two columns of byte strings.

    Raises:
        LabelFileError: it is no Parquet file, truncated, or has columns of DistillKit's legacy
            kind.
    """
    with _translated(path):
        schema = pq.read_schema(path)
        depths = {name: _depth(schema, name) for name in (*LEGACY_COLUMNS, VALUES, INDICES)}
    if all(depths[name] for name in LEGACY_COLUMNS):
        raise LabelFileError(
            f"{path}: columns of DistillKit's legacy compression, which is not supported; write the"
            " labels again with the current one"
        )
    return depths[VALUES] == depths[INDICES] == (2, "uint8")


class SequenceFile:
    """One Parquet file, reopened for every pass over it: nothing to close.

    Args:
        path: path of the file.
        settings: settings that it was written with.

    Attributes:
        num_rows: number of sequences.

    Raises:
        LabelFileError: it is no Parquet file, truncated, or has other columns.
    """

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path = path
        self._settings = settings
        self._stamps = Stamps()
        self._stamps.note(path)
        if not is_distillkit(path):
            raise LabelFileError(
                f"{path}: columns {VALUES} and {INDICES} are not lists of lists of uint8, as"
                " DistillKit writes them; move the file away if it is another one"
            )
        with _translated(path):
            metadata, depth = pq.read_metadata(path), _depth(pq.read_schema(path), TOKENS)
            # The metadata of columns, which hold exact sizes, are not used: pyarrow 26 ends the
            # whole process if some bits of them are damaged.
            groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
            rows = [group.num_rows for group in groups]
            group_bytes = sum(group.total_byte_size for group in groups)
        if depth is None or depth[0] != 1 or "int" not in depth[1]:
            raise LabelFileError(
                f"{path}: the column {TOKENS} is not a list of integers;"
                " it says how many tokens a sequence has"
            )
        self.num_rows = sum(rows)
        self._row_bytes = max(group_bytes // max(self.num_rows, 1), 1)
        self._group_starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)

    def sequences(self, first_row: int = 0) -> Iterator[Sequences]:
        """All sequences from the row group that holds `first_row` on, checked for their shape.

        Raises:
            LabelFileError: nulls, lengths that contradict each other or the settings, or damage.
        """
        group = int(np.searchsorted(self._group_starts, first_row, side="right")) - 1
        row = int(self._group_starts[group])
        for batch in self._batches([TOKENS, VALUES, INDICES], group):
            yield self._checked(batch, row)
            row += batch.num_rows

    def tokens(self) -> Iterator[Any]:
        """Input tokens of all sequences, without reading their labels.

        Returns:
            Arrow arrays of lists of uint64, a list a sequence.

        Raises:
            LabelFileError: nulls, or damage.
        """
        row = 0
        for batch in self._batches([TOKENS]):
            column = batch.column(TOKENS)
            self._lengths(column, TOKENS, row)
            row += batch.num_rows
            with _translated(self.path):
                yield column.cast(pa.list_(pa.uint64()))

    def count_tokens(self) -> int:
        """Count the input tokens of all sequences, without reading their labels.

        Raises:
            LabelFileError: nulls, or damage.
        """
        count = row = 0
        for batch in self._batches([TOKENS]):
            count += int(self._lengths(batch.column(TOKENS), TOKENS, row).sum())
            row += batch.num_rows
        return count

    def _batches(self, columns: list[str], group: int = 0) -> Iterator[Any]:
        self._stamps.require_unchanged(self.path)
        with _translated(self.path):
            # A buffer makes Arrow read a column page by page instead of whole.
            batches = pq.ParquetFile(self.path, buffer_size=2**20).iter_batches(
                batch_size=min(max(_BATCH_BYTES // self._row_bytes, 1), 4096),
                row_groups=list(range(group, len(self._group_starts) - 1)),
                columns=columns,
            )
        while True:
            with _translated(self.path):
                batch = next(batches, None)
            self._stamps.require_unchanged(self.path)
            if batch is None:
                return
            yield batch

    def _checked(self, batch: Any, first_row: int) -> Sequences:
        num_tokens = self._lengths(batch.column(TOKENS), TOKENS, first_row)
        num_labels, values = self._strings(
            batch.column(VALUES), VALUES, self._settings.value_bytes, first_row
        )
        num_indices, indices = self._strings(
            batch.column(INDICES), INDICES, self._settings.index_bytes, first_row
        )
        wrong = np.flatnonzero(num_labels != num_indices)
        if len(wrong):
            at = int(wrong[0])
            raise LabelFileError(
                f"{self.path}: row {first_row + at}: {num_labels[at]} byte strings in {VALUES} but"
                f" {num_indices[at]} in {INDICES}; write the file again"
            )
        # The model's prediction after the last token is often left out.
        wrong = np.flatnonzero((num_labels != num_tokens) & (num_labels != num_tokens - 1))
        if len(wrong):
            at = int(wrong[0])
            raise LabelFileError(
                f"{self.path}: row {first_row + at}: {num_tokens[at]} tokens but {num_labels[at]}"
                " labels, where there should be as many or one fewer; write the file again"
            )
        return Sequences(first_row, num_tokens, num_labels, values, indices)

    def _lengths(self, column: Any, name: str, first_row: int) -> NDArray[np.int64]:
        if column.null_count:
            at = int(np.argmax(_nulls(column)))
            raise LabelFileError(
                f"{self.path}: row {first_row + at}: {name} is null; write the file again"
            )
        lengths: NDArray[np.int64] = column.value_lengths().to_numpy().astype(np.int64)
        return lengths

    def _strings(
        self, column: Any, name: str, width: int, first_row: int
    ) -> tuple[NDArray[np.int64], Bytes]:
        """Strings a row and all bytes, shape (n, width)."""
        lengths = self._lengths(column, name, first_row)
        strings = column.flatten()
        wrong = _nulls(strings)
        if not wrong.any():
            widths = strings.value_lengths().to_numpy()
            wrong = widths != width
        if wrong.any():
            at = int(np.argmax(wrong))
            row, token = locate(lengths, at)
            length = len(strings[at]) if strings[at].is_valid else "no"
            raise LabelFileError(
                f"{self.path}: row {first_row + row}, token {token}: {length} bytes in {name},"
                f" where the settings make it {width}; were others used to write the file?"
            )
        leaves = strings.flatten()
        if leaves.null_count:
            row, token = locate(lengths, int(np.argmax(_nulls(leaves))) // width)
            raise LabelFileError(
                f"{self.path}: row {first_row + row}, token {token}: a byte of {name} is null;"
                " write the file again"
            )
        return lengths, leaves.to_numpy().reshape(-1, width)


def locate(lengths: NDArray[np.int64], at: int) -> tuple[int, int]:
    """Find the row, and the place in it, of element `at` among all rows of these lengths."""
    stops = np.cumsum(lengths)
    row = int(np.searchsorted(stops, at, side="right"))
    return row, at - int(stops[row] - lengths[row])


def _depth(schema: Any, name: str) -> tuple[int, str] | None:
    """How many lists a column nests and what the innermost holds; None if it is missing."""
    if len(schema.get_all_field_indices(name)) != 1:
        return None
    kind, depth = schema.field(name).type, 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind, depth = kind.value_type, depth + 1
    return depth, str(kind)


def _nulls(array: Any) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = array.is_null().to_numpy(zero_copy_only=False)
    return result


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise LabelFileError(
            f"{path}: is no Parquet file, or is truncated or damaged ({error}); copy it again"
        ) from error
