"""Token data sets: sequences of token IDs in .npy, .npz or Parquet.

.npy      integers (S, n): a sequence each row; or (T,): a stream, which is cut
.npz      `tokens` (T,) with `lengths` (S,); or `input_ids` (S, n), of which an `attention_mask`
          (S, n) may say which are tokens
.parquet  a column `input_ids` or `tokens` with a list each row
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from labelcast.errors import LabelFileError
from labelcast_producers.relabel.language.text.sequences import Tokens

_COLUMNS = ("input_ids", "tokens")
_ROWS_AT_ONCE = 1024


def token_sequences(path: Path, max_length: int) -> Iterator[Tokens]:
    """The sequences of a file, in its order: uint32, shape (n,) each.

    Args:
        path: of a .npy, .npz or .parquet file.
        max_length: most tokens of a sequence; a stream is cut into as long ones.

    Raises:
        LabelFileError: another layout, no integers, negative ones, a longer sequence, or damage.
    """
    try:
        pieces = _READERS[path.suffix](path, max_length)
        for number, piece in enumerate(pieces):
            if len(piece) > max_length:
                raise LabelFileError(
                    f"{path}: sequence {number} has {len(piece)} tokens, the longest may have"
                    f" {max_length}; cut it, or give the tokens as one stream, a .npy of shape"
                    " (T,), which is cut"
                )
            yield _as_tokens(piece, path, number)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, pa.ArrowException) as error:
        reason = str(error).partition("\n")[0]
        raise LabelFileError(f"{path} cannot be read ({reason}): it is damaged") from None


def _of_npy(path: Path, max_length: int) -> Iterator[NDArray[Any]]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.ndim == 1:
        for first in range(0, len(array), max_length):
            yield array[first : first + max_length]
    elif array.ndim == 2:
        yield from array
    else:
        raise _unknown(path, f"an array of shape {array.shape}")


def _of_npz(path: Path, max_length: int) -> Iterator[NDArray[Any]]:
    # Opened here: of a damaged file, numpy leaves its own open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    tokens, lengths = arrays.get("tokens"), arrays.get("lengths")
    ids, mask = arrays.get("input_ids"), arrays.get("attention_mask")
    if tokens is not None and lengths is not None and tokens.ndim == lengths.ndim == 1:
        if int(lengths.sum()) != len(tokens) or (lengths < 0).any():
            raise LabelFileError(
                f"{path}: lengths sum to {lengths.sum()}, there are {len(tokens)} tokens"
            )
        yield from np.split(tokens, np.cumsum(lengths)[:-1])
    elif ids is not None and ids.ndim == 2 and (mask is None or mask.shape == ids.shape):
        for number, row in enumerate(ids):
            yield row if mask is None else row[mask[number].astype(np.bool_)]
    else:
        raise _unknown(path, f"the arrays {', '.join(sorted(arrays))}")


def _of_parquet(path: Path, max_length: int) -> Iterator[NDArray[Any]]:
    with pq.ParquetFile(path) as file:
        names = [name for name in _COLUMNS if name in file.schema_arrow.names]
        kind = file.schema_arrow.field(names[0]).type if names else None
        if kind is None or not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
            raise _unknown(path, f"the columns {', '.join(file.schema_arrow.names)}")
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=names[:1]):
            column = batch.column(0)
            if column.flatten().null_count:
                raise LabelFileError(f"{path}: a sequence holds nulls")
            for row in column:
                # A sequence that is null is an empty one, which is refused like others.
                values = row.values
                yield np.empty(0, np.uint32) if values is None else values.to_numpy()


_READERS = {".npy": _of_npy, ".npz": _of_npz, ".parquet": _of_parquet}


def _as_tokens(piece: NDArray[Any], path: Path, number: int) -> Tokens:
    if piece.dtype.kind not in "iu":
        raise LabelFileError(
            f"{path}: sequence {number} holds {piece.dtype} values; give token IDs, integers"
        )
    if len(piece) and not 0 <= int(piece.min()) <= int(piece.max()) < 2**32:
        raise LabelFileError(
            f"{path}: sequence {number} holds {piece.min()}, which is no token; leave padding out,"
            " in a .npz with an attention_mask"
        )
    return piece.astype(np.uint32)


def _unknown(path: Path, found: str) -> LabelFileError:
    return LabelFileError(
        f"{path} holds {found}; give token IDs as a .npy of shape (S, n) or (T,), a .npz of tokens"
        " and lengths, or a Parquet column input_ids"
    )
