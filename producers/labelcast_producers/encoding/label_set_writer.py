"""Dense labels → label set: encode each row, measure what the codes keep, write the manifest."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import RecordedPolicy
from labelcast.codec import Codec, LabelKind, RawCodec, Rows, write_artifact
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import (
    ContextRef,
    LabelContract,
    Manifest,
    Section,
    Segment,
    digest_of,
    to_canonical,
)
from labelcast.label_set.control_views import CONTROL_PART, ControlViews
from labelcast.label_set.fingerprints import READING_PART
from labelcast.label_set.view_records import mixing
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast.opening.parts_from_blobs import context_digest
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.label_kind import require_stated_kind
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.dense.row_context import RowContext
from labelcast_producers.encoding.control_labels import ControlLabels
from labelcast_producers.encoding.recorded_sections import write_augmentation
from labelcast_producers.encoding.row_log import RowLog
from labelcast_producers.neural.encoding_threads import map_in_threads

# The same blocks whatever the number of threads, or codes would differ in what rounding decides.
_BLOCK_BYTES = 2**22
_GOLDEN_ROWS = 16
_NOTE_ROWS = 50_000
_TINY = np.float32(1e-30)
_LEAST_LOG = np.float32(-104)


class RowEncoder(Protocol):
    """What writing a label set needs from an encoder (`labelcast_producers.neural.encoding`)."""

    codec: Codec

    def encode(
        self, labels: NDArray[Any], context: Rows | None = None, *, first_row: int = 0
    ) -> Rows:
        """Labels (n, C) → packed rows (n, stride); `first_row` numbers them in messages."""
        ...


def write_label_set(
    dense: DenseLabels,
    encoder: RowEncoder,
    out: Path,
    *,
    artifact: bytes | None = None,
    fit_report: dict[str, Any] | None = None,
    identity: str | None = None,
    progress: Progress = unwatched,
    control_views: bool = True,
) -> LabelSetDirectory:
    """Encode a whole file of dense labels into a label set.

    Args:
        dense: labels with their meaning.
        encoder: writes rows of `encoder.codec`.
        out: directory of the label set; a finished one there is replaced.
        artifact: artifact of a fitted codec; None for other codecs, whose artifact is made here.
        fit_report: how the codec was fitted; kept in the set's report.
        identity: identity of the labels; an interrupted encoding of the same labels by the same
            codec resumes where it stopped. None starts over.
        progress: called as labels are encoded.
        control_views: keep the thumbnails of a few views, if there are any, with what their labels
            decode to.

    Raises:
        InvalidRequestError: the codec has no codes.
        LabelValueError: a label cannot be encoded.
        LabelFileError: labels and codec have different numbers of classes.
    """
    description, codec = dense.description, encoder.codec
    if codec.row_stride == 0:
        raise InvalidRequestError(
            "a codec without codes is for measuring what the context alone is worth; fit one with"
            " codes to make a label set"
        )
    (out / "manifest.json").unlink(missing_ok=True)
    require_stated_kind(dense.rows, description.label_kind)
    writer = LabelSetDirectoryWriter(out)
    measured = _Agreement(dense, codec)
    context = dense.context() if codec.context_stride else None
    if artifact is None:
        artifact = write_artifact(codec, encoder.encode(_first_rows(dense)[:_GOLDEN_ROWS]))

    if identity is not None:
        identity = digest_of(identity.encode() + artifact)
    with RowLog(out / "encoding", identity or secrets.token_hex(16), codec.row_stride) as log:
        measured.restore(log.measured)
        _encode(dense, encoder, context, measured, log, progress, resumable=identity is not None)
        control = ControlLabels(dense, codec, context) if control_views else None
        blocks = log.blocks() if control is None else control.watching(log.blocks())
        codes = writer.add_rows(codec.row_stride, blocks)
        log.discard()
    report = measured.report() | ({} if fit_report is None else {"fit": fit_report})
    derived = None if context is None else ContextRef(context_digest(context.context, dense.index))
    kept = None if control is None else control.control_views()
    return _finish(writer, dense, codec, codes, artifact, report, derived, kept)


def write_packed_label_set(
    dense: DenseLabels, codec: Codec, blocks: Iterable[Rows], out: Path
) -> LabelSetDirectory:
    """Write labels that a codec without tables keeps unchanged; nothing is measured.

    Args:
        dense: meaning of the labels; its rows are not read.
        codec: codec of the rows.
        blocks: packed rows of all labels, in row order: uint8, shape (n, stride) each.
        out: directory of the label set; a finished one there is replaced.

    Raises:
        CodecError: the codec cannot decode a row.
        LabelFileError: there is not one row for each label.
    """
    (out / "manifest.json").unlink(missing_ok=True)
    writer, first = LabelSetDirectoryWriter(out), list[Rows]()

    def checked() -> Iterator[Rows]:
        for block in blocks:
            codec.check_rows(block)
            if not first:
                first.append(block[:_GOLDEN_ROWS].copy())
            yield block

    codes = writer.add_rows(codec.row_stride, checked())
    if codes.rows != dense.index.num_rows:
        raise LabelFileError(f"{codes.rows} labels were read, {dense.index.num_rows} were found")
    artifact = write_artifact(codec, first[0])
    return _finish(writer, dense, codec, codes, artifact, {"labels": codes.rows}, None)


def _finish(
    writer: LabelSetDirectoryWriter,
    dense: DenseLabels,
    codec: Codec,
    codes: Section,
    artifact: bytes,
    report: dict[str, Any],
    context: ContextRef | None,
    control: ControlViews | None = None,
) -> LabelSetDirectory:
    description, index, hard = dense.description, dense.index, dense.hard_labels
    presence, prints = index.pack_presence(), dense.fingerprints
    reading = None if prints is None else prints.reading
    segment = Segment(
        row_order=index.row_order,
        sample_ids=writer.add_column(index.sample_ids, "<u8"),
        seeds=writer.add_column(index.seeds, "<u4"),
        codes=codes,
        hard_labels=None if hard is None else writer.add_column(hard, "<u4"),
        presence=None if presence is None else writer.add_column(presence, "u1"),
        augmentation=write_augmentation(writer, dense),
        parts=()
        if prints is None
        else ((prints.kind.part, writer.add_column(prints.values, "<u8")),),
    )
    parts = {} if control is None else {CONTROL_PART: control.to_bytes()}
    if reading is not None:
        parts[READING_PART] = reading.to_bytes()
    codec_ref = writer.add_blob(artifact)
    contract = LabelContract(
        teacher=description.teacher,
        teacher_name=description.teacher_name,
        dataset=description.dataset if prints is None else prints.digest(),
        num_classes=description.num_classes,
        class_list=description.class_list,
        policy=description.policy,
        label_kind=codec.header.label_kind,
        temperatures=codec.header.temperatures,
        codec=codec_ref.digest,
        context=context,
        sample_order=description.sample_order,
    )
    writer.finish(
        Manifest(
            contract=contract,
            segments=(segment,),
            codec=codec_ref,
            report=writer.add_blob(to_canonical(report)),
            parts=tuple((name, writer.add_blob(parts[name])) for name in sorted(parts)),
        )
    )
    return LabelSetDirectory(writer.directory)


def _encode(
    dense: DenseLabels,
    encoder: RowEncoder,
    context: RowContext | None,
    measured: "_Agreement",
    log: RowLog,
    progress: Progress,
    *,
    resumable: bool,
) -> None:
    """Append the rows that are missing from the log."""
    progress(log.rows, dense.rows.num_rows)
    block = max(1, _BLOCK_BYTES // (4 * dense.description.num_classes))

    def blocks() -> Iterator[_Block]:
        for start in range(log.rows, dense.rows.num_rows, block):
            labels = dense.rows.read(start, min(start + block, dense.rows.num_rows))
            numbers = np.arange(start, start + len(labels))
            yield _Block(start, labels, None if context is None else context.rows(numbers))

    def encoded(block: _Block) -> tuple[Rows, _Counts]:
        rows = encoder.encode(block.labels, block.context, first_row=block.start)
        if _keeps(encoder.codec, block.labels):
            return rows, measured.of_kept(block)
        return rows, measured.of(block, encoder.codec.decode(rows, block.context))

    with closing(map_in_threads(encoded, blocks())) as made:
        for rows, counts in made:
            start = log.rows
            measured.add(counts)
            log.append(rows)
            if resumable and log.rows // _NOTE_ROWS > start // _NOTE_ROWS:
                log.note(measured.state())
            progress(log.rows, dense.rows.num_rows)


@dataclass(frozen=True, eq=False, slots=True)
class _Block:
    """Consecutive labels to encode.

    Attributes:
        start: number of the first row.
        labels: shape (n, C).
        context: uint8, shape (n, context_stride); None if the codec is not conditioned.
    """

    start: int
    labels: NDArray[Any]
    context: Rows | None


@dataclass(frozen=True, slots=True)
class _Counts:
    """What was measured of some rows: sums over them."""

    rows: int = 0
    kl: float = 0.0
    same_top1: int = 0
    shown: int = 0

    def __add__(self, other: "_Counts") -> "_Counts":
        return _Counts(
            self.rows + other.rows,
            self.kl + other.kl,
            self.same_top1 + other.same_top1,
            self.shown + other.shown,
        )


def _keeps(codec: Codec, labels: NDArray[Any]) -> bool:
    """Whether the codec keeps labels exactly: then there is nothing to measure."""
    return isinstance(codec, RawCodec) and codec.precision.dtype.itemsize >= labels.itemsize


class _Agreement:
    """How well codes keep labels, and how often labels name a class shown in their view."""

    def __init__(self, dense: DenseLabels, codec: Codec) -> None:
        self._dense = dense
        self._codec = codec
        self._sums = _Counts()

    def state(self) -> dict[str, Any]:
        """JSON value that `restore` reads back."""
        return asdict(self._sums)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`; {} starts over."""
        if state:
            self._sums = _Counts(
                int(state["rows"]),
                float(state["kl"]),
                int(state["same_top1"]),
                int(state["shown"]),
            )

    def add(self, counts: _Counts) -> None:
        """Count rows that were measured."""
        self._sums += counts

    def of_kept(self, block: _Block) -> _Counts:
        """Measure labels that the codec keeps exactly."""
        rows = len(block.labels)
        shown = self._shown(block.start, block.labels.argmax(axis=1))
        return _Counts(rows, 0.0, rows, shown)

    def of(self, block: _Block, decoded: NDArray[np.float32]) -> _Counts:
        """Measure labels and what their codes decode to."""
        labels, likeliest = block.labels, decoded.argmax(axis=1)
        # Where classes are tied for the likeliest, any of them is right.
        best = np.take_along_axis(labels, likeliest[:, None], axis=1)[:, 0]
        same_top1 = int((best == labels.max(axis=1)).sum())
        ends = self._codec.header.temperatures
        # A codec was fitted at the middle of its range.
        temperature = 1.0 if ends is None else (ends.low * ends.high) ** 0.5
        description = self._dense.description
        wanted = _log_probabilities(labels, description.label_kind, temperature)
        given = _log_probabilities(decoded, self._codec.header.label_kind, temperature)
        kl = float((np.exp(wanted) * (wanted - given)).sum())
        return _Counts(len(labels), kl, same_top1, self._shown(block.start, likeliest))

    def _shown(self, start: int, likeliest: NDArray[np.int64]) -> int:
        hard = self._dense.hard_labels
        if hard is None:
            return 0
        shown = np.stack(self._shown_ids(np.arange(start, start + len(likeliest))))
        classes = hard[np.searchsorted(self._dense.index.sample_ids, shown)]
        return int((classes == likeliest).any(axis=0).sum())

    def _shown_ids(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Sample IDs of views and of the partners mixed into them."""
        dense, views = self._dense, self._dense.index.views_at(rows)
        policy = dense.description.policy
        if dense.records is not None and isinstance(policy, RecordedPolicy):
            records = dense.records[rows]
            shows = records.partner_share(policy) > 0
            return views.sample_ids, np.where(shows, records.partner_sample_ids, views.sample_ids)
        partners, _ = mixing(views, policy, dense.index.sample_ids, None)
        return views.sample_ids, partners.sample_ids

    def report(self) -> dict[str, Any]:
        """JSON value; KL in nats, over all rows, those the codec was fitted on included."""
        known = self._dense.hard_labels is not None
        sums = self._sums
        return {
            "labels": sums.rows,
            "kl_nats": sums.kl / sums.rows,
            "top1_agreement": sums.same_top1 / sums.rows,
            "hard_label_agreement": sums.shown / sums.rows if known else None,
        }


def _first_rows(dense: DenseLabels) -> NDArray[Any]:
    return dense.rows.read(0, min(256, dense.rows.num_rows))


def _log_probabilities(
    labels: NDArray[Any], kind: LabelKind, temperature: float
) -> NDArray[np.float32]:
    values = labels.astype(np.float32)
    if kind is LabelKind.PROBABILITIES:
        return np.log(np.maximum(values, _TINY))
    # Labels at both ends of fp32 are further apart than it reaches; below the bound exp is 0.
    with np.errstate(over="ignore"):
        values -= values.max(axis=1, keepdims=True)
        values /= np.float32(temperature)
    np.maximum(values, _LEAST_LOG, out=values)
    values -= np.log(np.exp(values).sum(axis=1, keepdims=True))
    return values
