"""The tokens of a label set's sequences, kept beside it where that is asked for.

Tokens are the text: whoever has the file and the tokenizer can read it. A label set itself keeps
fingerprints alone.
"""

from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from labelcast.files import whole_file
from labelcast_producers.relabel.language.text.sequences import TokenSequences

TOKENS_NAME = "tokens.parquet"
_SCHEMA = pa.schema([("sample_id", pa.uint64()), ("input_ids", pa.list_(pa.uint32()))])
_ROWS_AT_ONCE = 1024


def write_kept_tokens(sequences: TokenSequences, path: Path) -> None:
    """Write a row of token IDs for each sequence, under its sample ID; replaces the file."""
    with whole_file(path) as partial, pq.ParquetWriter(partial, _SCHEMA) as writer:
        for first in range(0, len(sequences), _ROWS_AT_ONCE):
            numbers = range(first, min(first + _ROWS_AT_ONCE, len(sequences)))
            columns = [
                pa.array(list(numbers), pa.uint64()),
                pa.array([sequences[number] for number in numbers], pa.list_(pa.uint32())),
            ]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
