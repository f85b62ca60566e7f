"""Top-k labels from other projects → a label set that keeps them unchanged, never made dense."""

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, Rows, TemperatureRange, TopKCodec
from labelcast.errors import LabelFileError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding.label_set_writer import write_packed_label_set
from labelcast_producers.encoding.row_log import RowLog
from labelcast_producers.formats.source import Part, Source, SourceFacts
from labelcast_producers.neural.encoding import fp16_down

_NOTE_ROWS = 50_000


@runtime_checkable
class TopKSource(Protocol):
    """A source that gives its top-k labels without the classes they leave out."""

    def read_top_k(self, part: Part) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Read class IDs and probabilities or logits of a part: shape (n, k) each."""
        ...


def top_k_codec(facts: SourceFacts) -> TopKCodec:
    """Choose the codec that keeps top-k labels unchanged.

    Raises:
        LabelFileError: the labels are dense.
    """
    if facts.top_k is None:
        raise LabelFileError("these labels are dense, not top-k")
    at = facts.temperature
    ends = None if facts.label_kind is LabelKind.LOGITS or at is None else TemperatureRange(at, at)
    header = CodecHeader(facts.num_classes, facts.label_kind, ends)
    return TopKCodec(header, facts.top_k.k, facts.top_k.recovery)


def write_top_k(
    source: Source,
    sparse: TopKSource,
    dense: DenseLabels,
    out: Path,
    *,
    identity: str,
    progress: Progress = unwatched,
) -> LabelSetDirectory:
    """Write a label set of a source's top-k labels.

    Args:
        source: scanned source; its parts hold consecutive rows.
        sparse: the same source, giving top-k labels.
        dense: meaning of the labels.
        out: directory of the label set.
        identity: identity of the files and the options: an interrupted import of the same resumes.
        progress: called as labels are written.

    Raises:
        LabelFileError: parts are out of order.
    """
    codec = top_k_codec(source.facts)
    with RowLog(out / "encoding", identity, codec.row_stride) as log:
        progress(log.rows, source.facts.index.num_rows)
        row = noted = log.rows
        first = 0
        for part in source.parts:
            first += len(part.rows)
            if first <= log.rows:
                continue
            if not np.array_equal(part.rows, np.arange(row, row + len(part.rows))):
                raise LabelFileError(f"{part.path}: its labels are not in order", path=part.path)
            log.append(pack_top_k(codec, *sparse.read_top_k(part)))
            row += len(part.rows)
            if row - noted >= _NOTE_ROWS:
                log.note({})
                noted = row
            progress(row, source.facts.index.num_rows)
        label_set = write_packed_label_set(dense, codec, log.blocks(), out)
        log.discard()
    return label_set


def pack_top_k(codec: TopKCodec, ids: NDArray[np.int64], values: NDArray[np.float32]) -> Rows:
    """Pack rows of a top-k codec: uint8, shape (n, stride).

    Probabilities are rounded down, so that sums of at most 1 stay at most 1.
    """
    probabilities = codec.header.label_kind is LabelKind.PROBABILITIES
    halves = fp16_down(values) if probabilities else values.astype("<f2")
    wide = ids.astype(codec.id_dtype)
    return np.concatenate(
        [
            np.ascontiguousarray(wide).view(np.uint8).reshape(len(ids), -1),
            np.ascontiguousarray(halves).view(np.uint8).reshape(len(ids), -1),
        ],
        axis=1,
    )
