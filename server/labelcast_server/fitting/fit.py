"""The entry: dense labels in, a proven codec with its encoder and its report out."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from labelcast.codec import LabelKind, VqaeCodec
from labelcast.errors import CodecFormatError, DigestMismatchError, LabelFileError
from labelcast_server.fitting.checkpoint import write_atomically
from labelcast_server.fitting.config import FitConfig
from labelcast_server.fitting.loop import Loop
from labelcast_server.fitting.metrics import measure
from labelcast_server.fitting.report import BytesALabel, FitReport, read_report
from labelcast_server.fitting.sampling import Split, spaced
from labelcast_server.label_files import LabelRows, check_label_kind
from labelcast_server.neural.device import choose_device
from labelcast_server.neural.encoder_file import load_encoder, write_encoder
from labelcast_server.neural.encoding import VqaeEncoder
from labelcast_server.neural.export import build_artifact, export_codec, round_to_stored

CODEC_FILE = "codec.safetensors"
ENCODER_FILE = "encoder.safetensors"
REPORT_FILE = "fit-report.json"
LOG_FILE = "fit-log.jsonl"
CHECKPOINT_FILE = "checkpoint.safetensors"

_SAMPLE_ROWS = 64
_DIGEST_ROWS = 4096


@dataclass(frozen=True, eq=False)
class FittedCodec:
    """What a fit leaves behind.

    Attributes:
        out: the directory that holds it all as files.
        artifact: bytes of the codec.
        codec: the decoding half (numpy).
        encoder: the encoding half, on the device of the fit.
        report: how good it is.
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
    device: str = "auto",
    progress: bool = True,
    resume: bool = True,
    checkpoint_seconds: float = 30.0,
) -> FittedCodec:
    """Fit a VQAE to soft labels and write it into `out`.

    Args:
        labels: rows of a teacher's labels; seed-major, so that held-out blocks are whole seeds.
        config: settings.
        out: directory, created when missing; gets codec, encoder, report and log.
        label_kind: what `labels` are; refused where they plainly are the other kind.
        device: "auto", "cpu" or any torch device.
        progress: draw a progress bar on stderr.
        resume: go on from what `out` holds: a checkpoint, or a finished fit of the same settings
            on the same labels, which is then returned as it is. Labels are told apart by their
            shape, type, kind and the values of 4,096 evenly spaced rows (of fewer, all): after a
            change that may spare these, start anew.
        checkpoint_seconds: at least so long between two checkpoints.

    Returns:
        The fitted codec, proven by numpy and by torch.

    Raises:
        LabelFileError: there are no labels.
        LabelValueError: NaN or infinity, or labels of the other kind.
        InvalidRequestError: no such device, the fit diverged, or `out` holds another unfinished
            fit and `resume` is set.
        GoldenRowsError: the decoders disagree.
        KeyboardInterrupt: SIGINT; calling again goes on from there.
    """
    if labels.num_rows < 1 or labels.num_classes < 1:
        raise LabelFileError("there are no labels to fit")
    sample = labels.gather(spaced(labels.num_rows, _SAMPLE_ROWS))
    check_label_kind(sample, label_kind)
    digest = _labels_digest(labels, label_kind)
    chosen = choose_device(device)
    out.mkdir(parents=True, exist_ok=True)
    if resume and (out / REPORT_FILE).exists():
        report = read_report(out / REPORT_FILE)
        if (report.config, report.labels_digest) == (config, digest):
            return load_fitted(out, device=device)
    split = Split.of(
        labels.num_rows,
        rows_per_seed=labels.rows_per_seed,
        block_rows=config.block_rows,
        holdout_every=config.holdout_every,
    )
    with tqdm(total=config.steps, desc="fit", unit="step", disable=not progress) as bar:

        def show(step: int, line: dict[str, float]) -> None:
            bar.update(step - bar.n)
            if line:
                bar.set_postfix(kl=f"{line['kl']:.3f}", perplexity=f"{line['perplexity']:.0f}")

        loop = Loop(
            labels=labels,
            label_kind=label_kind,
            config=config,
            split=split,
            device=chosen,
            labels_digest=digest,
            checkpoint=out / CHECKPOINT_FILE,
            log=out / LOG_FILE,
            checkpoint_seconds=checkpoint_seconds,
            on_step=show,
        )
        loop.run(resume=resume)
    return _finish(loop, out)


def load_fitted(out: Path, *, device: str = "auto") -> FittedCodec:
    """Read what `fit` wrote.

    Raises:
        CodecFormatError: a file is missing or malformed.
        DigestMismatchError: the files are of different fits.
        InvalidRequestError: no such device.
    """
    try:
        artifact = (out / CODEC_FILE).read_bytes()
    except OSError as error:
        raise CodecFormatError(f"{out} holds no fitted codec: {error.strerror}") from None
    report = read_report(out / REPORT_FILE)
    if report.codec_digest != hashlib.sha256(artifact).hexdigest():
        raise DigestMismatchError(f"codec and report in {out} are of different fits")
    encoder = load_encoder(out / ENCODER_FILE, artifact, choose_device(device))
    return FittedCodec(out, artifact, encoder.vqae, encoder, report)


def _labels_digest(labels: LabelRows, label_kind: LabelKind) -> str:
    """Sha256 (hex) over shape, type, kind and the values of `_DIGEST_ROWS` evenly spaced rows.

    A file of no more rows is covered whole. Of a larger one, rows between those may change
    unnoticed: to read it all would take longer than many a fit.
    """
    rows = spaced(labels.num_rows, _DIGEST_ROWS)
    hasher = hashlib.sha256(f"{labels.num_rows} {labels.num_classes} {label_kind}".encode())
    # In blocks: with very many classes, all of them at once would not fit into memory.
    for start in range(0, len(rows), _SAMPLE_ROWS):
        block = labels.gather(rows[start : start + _SAMPLE_ROWS])
        hasher.update(f" {block.dtype} ".encode())
        hasher.update(block.tobytes())
    return hasher.hexdigest()


def _finish(loop: Loop, out: Path) -> FittedCodec:
    """Round, export, prove, measure and write; the report comes last and says that all is there."""
    labels, config, split = loop.labels, loop.config, loop.split
    round_to_stored(loop.model, temperature=config.temperature)
    codec = export_codec(loop.model, config.temperatures)
    encoder = VqaeEncoder(
        loop.model,
        codec,
        label_kind=loop.label_kind,
        temperature=config.temperature,
        search=config.search,
    )
    golden = encoder.encode(labels.gather(spaced(labels.num_rows, _SAMPLE_ROWS)))
    artifact = build_artifact(codec, golden, loop.device)
    seen = split.seen(spaced(split.seen_rows, config.metric_rows))
    unseen = split.unseen(spaced(split.unseen_rows, config.metric_rows))
    report = FitReport(
        config=config,
        label_kind=loop.label_kind,
        num_rows=labels.num_rows,
        num_classes=labels.num_classes,
        labels_digest=loop.labels_digest,
        codec_digest=hashlib.sha256(artifact).hexdigest(),
        codec_bytes=len(artifact),
        seconds=round(loop.seconds, 3),
        device=str(loop.device),
        compute=str(loop.compute),
        seen=measure(encoder, labels, seen),
        unseen=measure(encoder, labels, unseen) if len(unseen) else None,
        bytes_a_label=BytesALabel.of(
            payload=codec.row_stride,
            codec_bytes=len(artifact),
            num_rows=labels.num_rows,
            num_classes=labels.num_classes,
        ),
    )
    encoder_file = write_encoder(encoder, artifact, fit_config=config.model_dump(mode="json"))
    (out / REPORT_FILE).unlink(missing_ok=True)
    write_atomically(out / CODEC_FILE, artifact)
    write_atomically(out / ENCODER_FILE, encoder_file)
    write_atomically(out / REPORT_FILE, report.to_json())
    (out / CHECKPOINT_FILE).unlink(missing_ok=True)
    return FittedCodec(out, artifact, codec, encoder, report)
