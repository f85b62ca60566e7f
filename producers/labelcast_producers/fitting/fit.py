"""The entry point: dense labels in; a proven codec, its encoder and its report out."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from labelcast.codec import LabelKind, VqaeCodec
from labelcast.errors import (
    CodecFormatError,
    DigestMismatchError,
    InvalidRequestError,
    LabelFileError,
)
from labelcast.files import write_whole
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.files import LabelRows
from labelcast_producers.dense.label_kind import require_stated_kind
from labelcast_producers.dense.row_context import RowContext
from labelcast_producers.fitting.checkpoint import START_ANEW
from labelcast_producers.fitting.config import CLASS_WIDTH, FitConfig
from labelcast_producers.fitting.context_choice import (
    ContextChoice,
    choose_context,
    discard_tried,
    is_open,
    reported_rows,
    tried_checkpoints,
)
from labelcast_producers.fitting.metrics import measure
from labelcast_producers.fitting.parallel import ALONE, Workers
from labelcast_producers.fitting.report import BytesALabel, FitReport, read_report
from labelcast_producers.fitting.sampling import Split, spaced
from labelcast_producers.fitting.steps import Loop
from labelcast_producers.neural.encoder_file import codec_digest, write_encoder
from labelcast_producers.neural.encoding import VqaeEncoder
from labelcast_producers.neural.export import build_artifact
from labelcast_producers.neural.fitted_files import (
    CODEC_FILE,
    ENCODER_FILE,
    REPORT_FILE,
    read_fitted_files,
)

LOG_FILE = "fit-log.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"

_SAMPLE_ROWS = 64
_DIGEST_ROWS = 4096


@dataclass(frozen=True, eq=False)
class FittedCodec:
    """The result of a fit.

    Attributes:
        out: directory with all of it as files.
        artifact: bytes of the codec.
        codec: decoding half (numpy).
        encoder: encoding half, on the device of the fit.
        report: how well the codec keeps labels.
    """

    out: Path
    artifact: bytes
    codec: VqaeCodec
    encoder: VqaeEncoder
    report: FitReport


def fit(
    labels: LabelRows,
    config: FitConfig,
    *,
    out: Path,
    label_kind: LabelKind,
    context: RowContext | None = None,
    device: str = "auto",
    progress: Progress = unwatched,
    on_log: Callable[[Mapping[str, float]], None] = lambda _: None,
    resume: bool = True,
    checkpoint_seconds: float = 30.0,
    workers: Workers = ALONE,
) -> FittedCodec:
    """Fit a VQAE to soft labels and write it into `out`.

    Args:
        labels: rows of a teacher's labels; seed-major, so that held-out blocks are whole seeds.
        config: settings of the fit.
        out: directory, created if missing; receives codec, encoder, report and log.
        label_kind: kind of `labels`; refused if they are the other kind.
        context: what producer and student both know about each row's view, from
            `DenseLabels.context`; None if hard labels are unknown: then nothing is conditioned on
            it.
        device: "auto", "cpu" or any torch device; with several workers, each takes its own GPU.
        progress: called after steps.
        on_log: called with each line of the log: step, kl, agreement and perplexity of a batch.
        resume: continue from what `out` holds: a checkpoint, or a finished fit of the same settings
            on the same labels, which is then returned unchanged. Labels are identified by their
            shape, type, kind and the values of 4,096 evenly spaced rows (of fewer, all): after a
            change that may miss these, start over. If False, discard what `out` holds.
        checkpoint_seconds: least time between two checkpoints.
        workers: the processes that fit together, from `joined_workers`; each calls this with the
            same arguments and sees the same files. The first writes files and reports progress.

    Returns:
        The fitted codec, proven by numpy and by torch; the same on every worker.

    Raises:
        LabelFileError: there are no labels.
        LabelValueError: NaN or infinity, or labels of the other kind.
        InvalidRequestError: there is no such device, the fit diverged, there are more workers than
            rows in a batch, or `out` holds another fit, unfinished or finished, and `resume` is
            set.
        CodecFormatError: `out` holds this fit, finished but damaged, and `resume` is set.
        DigestMismatchError: so are its files, which belong to different fits.
        GoldenRowsError: the decoders disagree.
        NetworkError: another worker has gone.
        KeyboardInterrupt: SIGINT; calling again resumes from there.
    """
    if labels.num_rows < 1 or labels.num_classes < 1:
        raise LabelFileError("there are no labels to fit")
    if config.batch_rows < workers.size:
        raise InvalidRequestError(
            f"{workers.size} workers cannot share a batch of {config.batch_rows} rows; raise"
            " batch_rows, or start fewer",
            field="batch_rows",
        )
    require_stated_kind(labels, label_kind)
    split = split_of(labels, config)
    config, context = _conditioned(config, context, split)
    digest = _labels_digest(labels, label_kind, context)
    chosen = workers.choose_device(device)
    out.mkdir(parents=True, exist_ok=True)
    # The first worker checks for all; then all read the same report, which nobody writes.
    if workers.any(resume and workers.is_first and (out / REPORT_FILE).exists()):
        with _naming_the_way_out():
            _expect_same_fit(out, config, digest)
            return load_fitted(out, device=str(chosen))
    if workers.is_first and not resume:
        # If interrupted, this fit must not be taken for the earlier one.
        _discard(out)
    decides = is_open(config, context, split)
    if workers.any(workers.is_first and _holds_other_kind(out, decides=decides)):
        raise InvalidRequestError(
            f"{out} holds an unfinished fit that {'does not decide' if decides else 'decides'} on"
            f" context; use another directory for --out, or {START_ANEW}"
        )
    make = partial(
        Loop,
        labels=labels,
        label_kind=label_kind,
        device=chosen,
        labels_digest=digest,
        checkpoint_seconds=checkpoint_seconds,
        workers=workers,
        on_log=on_log,
    )
    choice: ContextChoice | None = None
    if decides:
        loop, choice = choose_context(
            make,
            config,
            context,
            split,
            out=out,
            log=out / LOG_FILE,
            progress=progress,
            resume=resume,
        )
    else:
        loop = make(
            config=config,
            context=context,
            split=split,
            checkpoint=out / CHECKPOINT_FILE,
            log=out / LOG_FILE,
            progress=progress,
        )
        loop.run(resume=resume)
    fitted = _finish(loop, split, choice, out) if workers.is_first else None
    workers.wait()
    return fitted or load_fitted(out, device=str(chosen))


def expect_no_other_fit(
    labels: LabelRows,
    config: FitConfig,
    *,
    out: Path,
    label_kind: LabelKind,
    context: RowContext | None,
) -> None:
    """Refuse a directory in which `fit` with `resume` would find another finished fit.

    Args:
        labels: labels to fit; see `fit` for all arguments.
        config: settings of the fit.
        out: directory, which need not exist.
        label_kind: kind of `labels`.
        context: what is known about their views.

    Raises:
        InvalidRequestError: it holds a fit of other settings or labels.
        CodecFormatError: its report is damaged.
        LabelValueError: NaN or infinity.
    """
    if (out / REPORT_FILE).exists():
        config, context = _conditioned(config, context, split_of(labels, config))
        with _naming_the_way_out():
            _expect_same_fit(out, config, _labels_digest(labels, label_kind, context))


def load_fitted(out: Path, *, device: str = "auto") -> FittedCodec:
    """Load what `fit` wrote.

    Raises:
        CodecFormatError: a file is missing or malformed.
        DigestMismatchError: the files belong to different fits.
        InvalidRequestError: there is no such device.
    """
    files = read_fitted_files(out, device=device)
    report = read_report(out / REPORT_FILE)
    return FittedCodec(out, files.artifact, files.encoder.vqae, files.encoder, report)


def split_of(labels: LabelRows, config: FitConfig) -> Split:
    """Which rows are fitted, and which held out."""
    return Split.of(
        labels.num_rows,
        rows_per_seed=labels.rows_per_seed,
        block_rows=config.block_rows,
        holdout_every=config.holdout_every,
    )


def _conditioned(
    config: FitConfig, context: RowContext | None, split: Split
) -> tuple[FitConfig, RowContext | None]:
    """Both as the fit uses them: conditioned only if context is known.

    Context is used untried without codes, where it is all that labels are decoded from, and without
    rows to compare on.
    """
    if context is None or config.class_width == 0:
        return config.without_context(), None
    if is_open(config, context, split):
        return config, context
    return config.with_class_width(config.class_width or CLASS_WIDTH), context


def _expect_same_fit(out: Path, config: FitConfig, labels_digest: str) -> None:
    report = read_report(out / REPORT_FILE)
    if (report.asked_for, report.labels_digest) != (config, labels_digest):
        raise InvalidRequestError(
            f"{out} holds a finished fit of other settings or labels; use another directory for"
            f" --out, or {START_ANEW}"
        )


@contextmanager
def _naming_the_way_out() -> Iterator[None]:
    """Add to the error about a damaged fit what to do about it."""
    try:
        yield
    except (CodecFormatError, DigestMismatchError) as error:
        raise type(error)(f"{error.message}; {START_ANEW}") from None


def _holds_other_kind(out: Path, *, decides: bool) -> bool:
    """Whether an unfinished fit is there whose files this one would not find.

    Args:
        out: directory of both.
        decides: whether this one decides on context; the other then does not.
    """
    other = [out / CHECKPOINT_FILE] if decides else tried_checkpoints(out)
    return any(path.exists() for path in other)


def _discard(out: Path) -> None:
    # The report first: without it, the other files are not a finished fit.
    for name in (REPORT_FILE, CODEC_FILE, ENCODER_FILE, CHECKPOINT_FILE):
        (out / name).unlink(missing_ok=True)
    discard_tried(out)


def _labels_digest(labels: LabelRows, label_kind: LabelKind, context: RowContext | None) -> str:
    """Sha256 (hex) over shape, type, kind, values and context of `_DIGEST_ROWS` spaced rows.

    A file with at most this many rows is covered whole. In a larger one, rows in between may change
    unnoticed: reading it all would take longer than many fits.
    """
    rows = spaced(labels.num_rows, _DIGEST_ROWS)
    hasher = hashlib.sha256(f"{labels.num_rows} {labels.num_classes} {label_kind}".encode())
    # In blocks: with very many classes, all of them at once would not fit into memory.
    for start in range(0, len(rows), _SAMPLE_ROWS):
        part = rows[start : start + _SAMPLE_ROWS]
        block = labels.gather(part)
        hasher.update(f" {block.dtype} ".encode())
        hasher.update(block.tobytes())
        if context is not None:
            hasher.update(context.rows(part).tobytes())
    return hasher.hexdigest()


def _finish(loop: Loop, split: Split, choice: ContextChoice | None, out: Path) -> FittedCodec:
    """Round, export, prove, measure and write; the report is last and marks the fit finished."""
    labels, context, config = loop.labels, loop.context, loop.config
    encoder = loop.finished_encoder()
    codec = encoder.vqae
    sampled = spaced(labels.num_rows, _SAMPLE_ROWS)
    about = None if context is None else context.rows(sampled)
    golden = encoder.encode(labels.gather(sampled), about)
    artifact = build_artifact(codec, golden, about, loop.device)
    seen = split.seen(spaced(split.seen_rows, config.metric_rows))
    reported = reported_rows(split, choice)
    unseen = split.unseen(reported[spaced(len(reported), config.metric_rows)])
    report = FitReport(
        config=config,
        context_choice=choice,
        label_kind=loop.label_kind,
        num_rows=labels.num_rows,
        fitted_rows=split.seen_rows,
        num_classes=labels.num_classes,
        labels_digest=loop.labels_digest,
        codec_digest=codec_digest(artifact),
        codec_bytes=len(artifact),
        seconds=choice.seconds if choice else round(loop.seconds, 3),
        device=str(loop.device),
        compute=str(loop.compute),
        seen=measure(encoder, labels, context, seen),
        unseen=measure(encoder, labels, context, unseen) if len(unseen) else None,
        bytes_a_label=BytesALabel.of(
            payload=codec.row_stride,
            codec_bytes=len(artifact),
            num_rows=labels.num_rows,
            num_classes=labels.num_classes,
        ),
    )
    encoder_file = write_encoder(encoder, artifact, fit_config=config.model_dump(mode="json"))
    (out / REPORT_FILE).unlink(missing_ok=True)
    write_whole(out / CODEC_FILE, artifact)
    write_whole(out / ENCODER_FILE, encoder_file)
    write_whole(out / REPORT_FILE, report.to_json())
    (out / CHECKPOINT_FILE).unlink(missing_ok=True)
    discard_tried(out)
    return FittedCodec(out, artifact, codec, encoder, report)
