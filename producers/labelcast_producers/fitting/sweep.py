"""Several targets, one curve: how much of the teacher is kept at how many bytes per label.

OUT/8/             result of `fit` for 8 bytes per label: a codec like any other
OUT/sweep.json     points of the curve; written after all fits, so without it they are unfinished
OUT/sweep.png      the curve drawn (see `rate_distortion`)
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from labelcast.codec import LabelKind
from labelcast.files import write_whole
from labelcast.progress import Progress, unwatched
from labelcast_producers.dense.files import LabelRows
from labelcast_producers.dense.row_context import RowContext
from labelcast_producers.fitting.config import FitConfig
from labelcast_producers.fitting.context_choice import planned_steps
from labelcast_producers.fitting.fit import expect_no_other_fit, fit, split_of
from labelcast_producers.fitting.metrics import Metrics
from labelcast_producers.fitting.report import FitReport
from labelcast_producers.fitting.target import check_targets, target_config

SWEEP_FILE = "sweep.json"
PLOT_FILE = "sweep.png"


class Quality(BaseModel):
    """What a point keeps, over some rows.

    Attributes:
        rows: number of rows measured.
        kl_nats: KL(teacher ‖ decoded).
        top1_agreement: share of rows whose likeliest class is the teacher's.
        top5_agreement: share of rows whose five likeliest classes hold the teacher's likeliest.
        mean_perplexity: codewords in use, mean over the codebooks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    kl_nats: float
    top1_agreement: float
    top5_agreement: float
    mean_perplexity: float

    @classmethod
    def of(cls, metrics: Metrics) -> Self:
        """Reduce the perplexities to their mean."""
        return cls(
            rows=metrics.rows,
            kl_nats=metrics.kl_nats,
            top1_agreement=metrics.top1_agreement,
            top5_agreement=metrics.top5_agreement,
            mean_perplexity=metrics.mean_perplexity,
        )


class SweepPoint(BaseModel):
    """One fit of a sweep.

    Attributes:
        target_bytes: requested bytes per label.
        directory: directory of the fit, inside the sweep's.
        codes: codes per label, M.
        codebook_size: codewords per codebook, K.
        codeword_width: values per codeword, D.
        payload: bytes of a label's codes.
        total_at: bytes per label including the codec, over 1, 10 and 100 million labels.
        codec_bytes: size of the artifact: codebooks, decoder and golden rows.
        codec_digest: sha256 (hex) of the artifact.
        seconds: wall time of the fitting steps.
        seen: quality on rows that were fitted.
        unseen: quality on held-out rows; None if there are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target_bytes: int
    directory: str
    codes: int
    codebook_size: int
    codeword_width: int
    payload: int
    total_at: dict[int, float]
    codec_bytes: int
    codec_digest: str
    seconds: float
    seen: Quality
    unseen: Quality | None

    @classmethod
    def of(cls, target_bytes: int, report: FitReport) -> Self:
        """Take what the curve needs from a report."""
        config, weight = report.config, report.bytes_a_label
        return cls(
            target_bytes=target_bytes,
            directory=str(target_bytes),
            codes=config.codes,
            codebook_size=config.codebook_size,
            codeword_width=config.codeword_width,
            payload=weight.payload,
            total_at=weight.total_at,
            codec_bytes=report.codec_bytes,
            codec_digest=report.codec_digest,
            seconds=report.seconds,
            seen=Quality.of(report.seen),
            unseen=None if report.unseen is None else Quality.of(report.unseen),
        )

    @property
    def quality(self) -> Quality:
        """Quality on unseen rows if there are any, else on fitted ones."""
        return self.unseen or self.seen


class Sweep(BaseModel):
    """A rate–distortion curve.

    Attributes:
        format: version of this file.
        labels_digest: digest that identifies the labels, as in fit reports.
        label_kind: kind of the labels.
        num_rows: rows in the whole file, N.
        num_classes: number of classes, C.
        dense_fp16: bytes of an uncompressed label.
        temperature: softmax temperature at which teacher and codec are compared.
        teacher_entropy_nats: the teacher's entropy over the rows of `quality`, as a scale for the
            KL.
        points: points by ascending payload.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["labelcast/sweep/1"] = "labelcast/sweep/1"
    labels_digest: str
    label_kind: LabelKind
    num_rows: int
    num_classes: int
    dense_fp16: int
    temperature: float
    teacher_entropy_nats: float
    points: tuple[SweepPoint, ...]

    @property
    def measured_on(self) -> str:
        """For people: which rows the points' `quality` was measured on."""
        return "fitted rows" if self.points[0].unseen is None else "unseen rows"

    def to_json(self) -> bytes:
        """Canonical JSON: sorted keys, no spaces, no NaN."""
        values = self.model_dump(mode="json")
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def sweep(
    labels: LabelRows,
    targets: Sequence[float],
    settings: Mapping[str, Any],
    *,
    out: Path,
    label_kind: LabelKind,
    context: RowContext | None = None,
    device: str = "auto",
    progress: Progress = unwatched,
    resume: bool = True,
    on_fit: Callable[[FitConfig], None] = lambda _: None,
    on_log: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> Sweep:
    """Fit every target and write the curve.

    Args:
        labels: labels to fit; see `fit`.
        targets: bytes per label, ascending.
        settings: settings of every fit, besides those that its target determines.
        out: output directory; each fit gets a directory inside, named by its bytes.
        label_kind: kind of `labels`.
        context: see `fit`.
        device: see `fit`.
        progress: called after steps of all fits.
        on_log: see `fit`.
        resume: keep finished fits of the same settings and labels, and continue an unfinished one;
            otherwise start all over.
        on_fit: called with the settings of each fit before it begins.

    Returns:
        The content of `SWEEP_FILE`.

    Raises:
        InvalidRequestError: targets or settings are impossible, or `resume` is set and a directory
            holds another finished fit; raised before anything is fitted. Otherwise as `fit`.
        LabelcastError: see `fit`.
        KeyboardInterrupt: SIGINT; calling again resumes from there.
    """
    checked = check_targets(targets)
    configs = [target_config(target, settings, labels) for target in checked]
    out.mkdir(parents=True, exist_ok=True)
    if resume:
        # Before anything changes: a curve whose fits stay unchanged is still right.
        for target, config in zip(checked, configs, strict=True):
            expect_no_other_fit(
                labels, config, out=out / str(target), label_kind=label_kind, context=context
            )
    for name in (SWEEP_FILE, PLOT_FILE):
        # Fits may be about to change; a curve of the earlier ones must not outlive them.
        (out / name).unlink(missing_ok=True)
    planned = [planned_steps(config, context, split_of(labels, config)) for config in configs]
    reports, before, total = [], 0, sum(planned)
    for target, config, steps in zip(checked, configs, planned, strict=True):
        on_fit(config)
        fitted = fit(
            labels,
            config,
            out=out / str(target),
            label_kind=label_kind,
            context=context,
            device=device,
            progress=_shifted(progress, before, total),
            on_log=on_log,
            resume=resume,
        )
        before += steps
        progress(before, total)
        reports.append(fitted.report)
    first = reports[0]
    curve = Sweep(
        labels_digest=first.labels_digest,
        label_kind=label_kind,
        num_rows=first.num_rows,
        num_classes=first.num_classes,
        dense_fp16=first.bytes_a_label.dense_fp16,
        temperature=first.config.temperature,
        teacher_entropy_nats=(first.unseen or first.seen).teacher_entropy_nats,
        points=tuple(map(SweepPoint.of, checked, reports)),
    )
    write_whole(out / SWEEP_FILE, curve.to_json())
    return curve


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    """Make the progress of one fit count towards all of them."""
    return lambda done, _: progress(before + done, total)
