"""The tokens that DistillKit's labels belong to, taken along beside a label set."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from labelcast.files import whole_file
from labelcast_producers.formats.distillkit.parquet import TOKENS, SequenceFile

_SCHEMA = pa.schema([("sample_id", pa.uint64()), (TOKENS, pa.list_(pa.uint64()))])


def write_tokens(files: Sequence[SequenceFile], path: Path) -> None:
    """Write the input tokens of all sequences, a row each, under their sample IDs.

    Args:
        files: in the order that numbers their sequences.
        path: of the Parquet file; replaced where it is there.

    Raises:
        LabelFileError: nulls, or damage.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    first = 0
    with whole_file(path) as partial, pq.ParquetWriter(partial, _SCHEMA) as writer:
        for file in files:
            for tokens in file.tokens():
                ids = pa.array(range(first, first + len(tokens)), pa.uint64())
                writer.write_batch(pa.record_batch([ids, tokens], schema=_SCHEMA))
                first += len(tokens)
