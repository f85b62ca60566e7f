"""Commands that make a label set from labels: fit, encode."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelcast.cli.panels import MAKE, add_command
from labelcast.cli.printing import byte_text, bytes_of
from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError
from labelcast_producers.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from labelcast_producers.fitting import FitConfig, FitReport
    from labelcast_producers.fitting.sweep import Sweep

Quiet = Annotated[bool, typer.Option("--quiet", help="Hide the progress bar.")]
Device = Annotated[str, typer.Option(help="Torch device, or auto.")]
OfPlainFile = Annotated[
    LabelKind | None,
    typer.Option(
        "--label-kind", help="Kind of the values in a plain file: logits unless said otherwise."
    ),
]
TeacherOutput = Annotated[
    str | None,
    typer.Option(
        help="Key, attribute or position of the logits where the teacher gives several tensors, or"
        " a path of these, like outputs.logits; 'logits' or the only tensor by default."
    ),
]
FromProbabilities = Annotated[
    bool,
    typer.Option("--from-probabilities", help="The teacher ends in a softmax: take its logarithm."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def fit(
    labels: Annotated[
        Path, typer.Option(help="Directory from relabel or import, or a .npy/.safetensors file.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the codec.")],
    codes: Annotated[int | None, typer.Option(help="Codes per label (M).")] = None,
    codebook_size: Annotated[
        int | None, typer.Option(help="Codewords per codebook (K), 2 to 65536.")
    ] = None,
    target_bytes: Annotated[
        float | None,
        typer.Option(
            help="Bytes per label, 1 to 256: chooses codes and codebooks instead of --codes and"
            " --codebook-size."
        ),
    ] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES,BYTES,…",
            help="Sizes in bytes per label, such as 2,4,8,16,32: each is fitted into a directory"
            " below --out; sweep.json and sweep.png show how much each keeps.",
        ),
    ] = None,
    no_context: Annotated[
        bool,
        typer.Option(
            "--no-context",
            help="Fit without context. By default, where labels come with hard labels, mix and"
            " crop, codes store only what these do not say.",
        ),
    ] = False,
    steps: Annotated[int | None, typer.Option(help="Number of fitting steps.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="JSON file with settings of the fit (FitConfig).")
    ] = None,
    label_kind: OfPlainFile = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over: discard what an earlier fit left in --out.")
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fit a codec (VQAE) to dense labels. Resumes if interrupted.

    With several processes: torchrun --nproc-per-node N -m labelcast.cli fit …
    """
    from labelcast_producers.dense.labels import open_for_fitting
    from labelcast_producers.fitting import fit as run
    from labelcast_producers.fitting.config import parse_fit_config
    from labelcast_producers.fitting.parallel import joined_workers, started_worker
    from labelcast_producers.fitting.sweep import sweep as fit_each
    from labelcast_producers.fitting.target import (
        expect_unchosen,
        parse_targets,
        target_config,
        whole_bytes,
    )

    given = {"codes": codes, "codebook_size": codebook_size, "steps": steps}
    settings = read_json(config) if config is not None else {}
    settings |= {name: value for name, value in given.items() if value is not None}
    if target_bytes is not None and sweep is not None:
        raise InvalidRequestError("--target-bytes fits one size, --sweep several: give one of them")
    targets = None if sweep is None else parse_targets(sweep)
    if target_bytes is not None:
        whole_bytes(target_bytes)
    if target_bytes is not None or targets is not None:
        expect_unchosen(settings)
    if targets is not None and started_worker().size > 1:
        raise InvalidRequestError("--sweep fits in one process: start it without torchrun")
    with joined_workers() as workers:
        rows, kind, context = open_for_fitting(labels, label_kind)
        context = None if no_context else context
        if targets is not None:
            with progress_bar("fit", "step", quiet=quiet) as progress:
                curve = fit_each(
                    rows,
                    targets,
                    settings,
                    out=out,
                    label_kind=kind,
                    context=context,
                    device=device,
                    progress=progress,
                    resume=not fresh,
                    on_fit=lambda config: progress.write(_sizes(config)),
                    on_log=progress.show_fit,
                )
            _draw(curve, out)
            typer.echo(curve.to_json().decode() if as_json else _sweep_table(curve))
            return
        if target_bytes is None:
            chosen = parse_fit_config(settings)
        else:
            chosen = target_config(target_bytes, settings, rows)
            if workers.is_first:
                typer.echo(_sizes(chosen), err=True)
        with progress_bar("fit", "step", quiet=quiet or not workers.is_first) as progress:
            fitted = run(
                rows,
                chosen,
                out=out,
                label_kind=kind,
                context=context,
                device=device,
                progress=progress,
                on_log=progress.show_fit,
                resume=not fresh,
                workers=workers,
            )
        if workers.is_first:
            typer.echo(fitted.report.model_dump_json() if as_json else _fit_summary(fitted.report))


def encode(
    labels: Annotated[
        Path, typer.Option(help="Directory from relabel or import, or a .npy/.safetensors file.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the label set.")],
    codec: Annotated[
        str,
        typer.Option(help="Directory from fit; or raw:fp16, raw:fp32, topk:K, topk:K:renormalise."),
    ],
    label_kind: OfPlainFile = None,
    temperature: Annotated[
        float,
        typer.Option(help="Softmax temperature: of a topk codec, or of stored probabilities."),
    ] = 1.0,
    no_control_views: Annotated[
        bool,
        typer.Option(
            "--no-control-views",
            help="Leave out the thumbnails of a few views that the labels come with.",
        ),
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Encode dense labels into a label set that `labelcast push` uploads."""
    from labelcast_producers.dense.labels import open_labels
    from labelcast_producers.encoding.label_set_writer import write_label_set
    from labelcast_producers.neural.chosen_encoder import choose_encoder

    dense = open_labels(labels, label_kind, temperature=temperature)
    chosen = choose_encoder(codec, dense.description, temperature=temperature, device=device)
    with progress_bar("encode", "label", quiet=quiet) as progress:
        label_set = write_label_set(
            dense,
            chosen.encoder,
            out,
            artifact=chosen.artifact,
            fit_report=chosen.fit_report,
            progress=progress,
            control_views=not no_control_views,
        )
    stride = chosen.encoder.codec.row_stride
    if as_json:
        typer.echo(json.dumps({"digest": label_set.digest, "bytes_per_label": stride}))
    else:
        labels_of = f"{label_set.manifest.num_labels} labels of {bytes_of(stride)}"
        typer.echo(f"{label_set.digest}\n{labels_of} in {out}")


def _draw(curve: "Sweep", out: Path) -> None:
    from labelcast_producers.fitting.rate_distortion import draw
    from labelcast_producers.fitting.sweep import PLOT_FILE

    try:
        draw(curve, out / PLOT_FILE)
    except ModuleNotFoundError as error:
        # The fits took hours and are done: the curve exists as JSON.
        typer.echo(
            f"{out / PLOT_FILE} is left out: there is no {error.name}; pip install"
            " 'labelcast[producers]', then run this again",
            err=True,
        )


def _sizes(config: "FitConfig") -> str:
    return (
        f"{bytes_of(config.vqae.row_stride)} a label: {config.codes} codes of"
        f" {config.codebook_size} codewords of {config.codeword_width} values"
    )


def _sweep_table(curve: "Sweep") -> str:
    """A line for each point, below a header."""
    head = ["bytes", "at 1 M", "at 10 M", "at 100 M", "KL nats", "top-1", "top-5"]
    head += ["perplexity", "codec", "fitted in"]
    lines = [head]
    for point in curve.points:
        kept = point.quality
        lines.append(
            [
                str(point.payload),
                *(f"{total:,.2f}" for _, total in sorted(point.total_at.items())),
                f"{kept.kl_nats:.3f}",
                f"{kept.top1_agreement:.1%}",
                f"{kept.top5_agreement:.1%}",
                f"{kept.mean_perplexity:.0f} of {point.codebook_size}",
                byte_text(point.codec_bytes),
                f"{point.seconds:,.0f} s",
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = (
        "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join([*table, f"measured on {curve.measured_on}; fp16: {curve.dense_fp16} bytes"])


def _fit_summary(report: "FitReport") -> str:
    figures = report.unseen or report.seen
    rows = "unseen rows" if report.unseen is not None else "fitted rows"
    weight = report.bytes_a_label
    return (
        f"{bytes_of(weight.payload)} a label ({weight.total_here:.1f} with the codec,"
        f" {weight.total_at[10_000_000]:.1f} at 10 million labels) instead of {weight.dense_fp16}\n"
        f"on {rows}: KL {figures.kl_nats:.3f} nats, top-1 agreement {figures.top1_agreement:.1%}"
        f"{_context_text(report)}{_few_labels_text(report)}"
    )


def _context_text(report: "FitReport") -> str:
    """A line on what decided on context, if the fit did."""
    if report.context_choice is None:
        return ""
    without, conditioned = (tried.kl_nats for tried in report.context_choice.tried)
    chosen = "with" if report.config.class_width else "without"
    return (
        f"\nfitted {chosen} context, the better of both: KL {conditioned:.3f} nats with it,"
        f" {without:.3f} without, on rows that neither had seen"
    )


def _few_labels_text(report: "FitReport") -> str:
    """A line of advice if the codec keeps fitted labels much better than others."""
    wanted = report.labels_wanted
    if wanted is None:
        return ""
    # Rounded down, an estimate could be of fewer labels than there are.
    unit = 10 ** (len(str(wanted)) - 1)
    about = math.ceil(wanted / unit) * unit
    return (
        f"\nfitted rows are kept better, with KL {report.seen.kl_nats:.3f} nats: a codec of this"
        f" size wants about {about:,} fitted labels instead of"
        f" {report.fitted_rows:,}; relabel with more --seeds"
    )


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    add_command(
        app,
        fit,
        "labelcast fit --labels dense/ --out codec/ --target-bytes 8",
        "labelcast fit --labels dense/ --out sweep/ --sweep 2,4,8,16",
        panel=MAKE,
    )
    add_command(
        app,
        encode,
        "labelcast encode --labels dense/ --codec codec/ --out label-set/",
        "labelcast encode --labels logits.npy --codec raw:fp16 --out label-set/",
        panel=MAKE,
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that a user names.

    Raises:
        InvalidRequestError: the file is unreadable or holds no JSON object.
    """
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"cannot read {path}: {error}") from None
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{path} must hold a JSON object")
    return value


def require_positive(option: str, value: float) -> None:
    """Refuse a number that is not above 0.

    Raises:
        InvalidRequestError: zero, negative, infinite or NaN; names the option.
    """
    # Written so that NaN fails.
    if not 0 < value < float("inf"):
        raise InvalidRequestError(f"{option} is {value}, must be a number above 0")
