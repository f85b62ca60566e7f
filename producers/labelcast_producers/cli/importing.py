"""Commands for labels that others made: inspect, import, export, stage."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelcast.cli.printing import print_json, print_pairs
from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError
from labelcast_producers.cli.produce import AsJson, Device, Quiet
from labelcast_producers.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from labelcast_producers.formats.source import Finding, SourceFacts

Labels = Annotated[Path, typer.Argument(metavar="PATH", help="File or directory of labels.")]
Format = Annotated[str, typer.Option("--format", help="Name of a format, or auto.")]
BundleDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="A label set.")]


def inspect(path: Labels, format_name: Format = "auto", as_json: AsJson = False) -> None:
    """Show what foreign label files are, what is inside and what they do not say."""
    from labelcast_producers.formats.recognition import recognise

    _, finding = recognise(path, format_name)
    if as_json:
        print_json(_finding_json(finding))
        return
    pairs = [("format", finding.format), ("what", finding.title)]
    pairs += [(name, _text(value)) for name, value in finding.inside.items()]
    pairs += [("missing", line) for line in finding.missing]
    pairs += [("foreign", name) for name in finding.foreign]
    print_pairs(pairs)


def import_(
    path: Labels,
    out: Annotated[
        Path, typer.Option(help="Directory: dense labels, or a label set with --codec.")
    ],
    format_name: Format = "auto",
    codec: Annotated[
        str | None,
        typer.Option(
            help="Encode on the fly: directory from fit, raw:fp16, raw:fp32, topk:K[:recovery]."
            " Top-k labels keep what they hold without it."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Class directories of the images that were labelled: names the samples."),
    ] = None,
    image_list: Annotated[
        Path | None,
        typer.Option(help="File of paths below --images, one a line, in the producer's order."),
    ] = None,
    channels: Annotated[
        int, typer.Option(min=1, max=3, help="That students read the images with: 3, or 1: grey.")
    ] = 3,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Images that were labelled, where none are at hand.")
    ] = None,
    draws: Annotated[
        str,
        typer.Option(
            help="Permutations that the producer's torch drew an epoch: one (older), two, or auto."
        ),
    ] = "auto",
    sampler_seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of the producer's sampler.")
    ] = 42,
    label_kind: Annotated[
        LabelKind | None, typer.Option(help="Of plain arrays, where values leave it open.")
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="At which probabilities were taken, or top-k of logits is to be."),
    ] = None,
    recovery: Annotated[
        Recovery | None,
        typer.Option(help="What top-k labels leave to other classes, where files do not say."),
    ] = None,
    view_size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels a side of the producer's views; by default 224."),
    ] = None,
    class_names: Annotated[
        Path | None, typer.Option(help="File of class names, one a line, in order.")
    ] = None,
    apply_patches: Annotated[
        bool,
        typer.Option(
            "--apply-patches",
            help="Replay EDC's patch orders, which its published code stores without applying.",
        ),
    ] = False,
    verify_with: Annotated[
        str | None,
        typer.Option(
            metavar="TEACHER",
            help="Import path of the teacher: it labels some views again and decides the order.",
        ),
    ] = None,
    verify_args: Annotated[
        str | None, typer.Option(help="JSON object of keyword arguments of the teacher.")
    ] = None,
    teacher_name: Annotated[
        str | None, typer.Option(help="For people; by default the path of the labels.")
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Bring labels that others made; interrupted, it goes on where it was when run again."""
    import warnings

    from labelcast_producers.formats.importing import Import, SampleOrderWarning
    from labelcast_producers.formats.source import ImportOptions, PermutationDraws
    from labelcast_producers.relabel.import_path import load_object

    try:
        chosen_draws = PermutationDraws(draws)
    except ValueError:
        raise InvalidRequestError(f"--draws is {draws!r}, must be auto, one or two") from None
    if verify_args is not None and verify_with is None:
        raise InvalidRequestError("--verify-args are those of --verify-with: give that too")
    if verify_with is not None and images is None:
        # Refused by `Import.verify` too, but after minutes of scanning.
        raise InvalidRequestError("--verify-with labels images again and needs --images")
    options = ImportOptions(
        images=images,
        image_list=image_list,
        channels=channels,
        num_samples=samples,
        draws=chosen_draws,
        sampler_seed=sampler_seed,
        label_kind=label_kind,
        temperature=temperature,
        recovery=recovery,
        view_size=view_size,
        class_names=None if class_names is None else _lines(class_names),
        apply_patches=apply_patches,
    )
    teacher = None if verify_with is None else load_object(verify_with, verify_args)
    labels = Import.open(path, options, format_name=format_name, teacher_name=teacher_name)
    if teacher is not None:
        found = labels.verify(teacher, device=device)
        plural = "s" if found.draws is PermutationDraws.TWO else ""
        typer.echo(
            f"order verified on {found.views} views: top-1 agreement {found.agreement:.1%},"
            f" {found.draws} permutation{plural} an epoch",
            err=True,
        )
    for note in labels.notes:
        typer.echo(f"note: {note}", err=True)
    with (
        warnings.catch_warnings(action="ignore", category=SampleOrderWarning),
        progress_bar("import", "label", quiet=quiet) as progress,
    ):
        if codec is None and labels.keeps_dense:
            labels.write_dense(out, progress=progress)
            digest = None
        else:
            digest = labels.write_label_set(
                out,
                codec=codec,
                temperature=temperature or 1.0,
                device=device,
                progress=progress,
            ).digest
    for warning in labels.warnings:
        typer.echo(f"warning: {warning}", err=True)
    _tell_imported(labels.facts, digest, out, as_json=as_json)


def export(
    label_set: BundleDirectory,
    out: Annotated[Path, typer.Option(help="New directory of files in the layout.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Of the script that will read them.")],
    layout: Annotated[str, typer.Option(help="sre2l, or lpld with its list of samples.")] = "sre2l",
    draws: Annotated[
        str, typer.Option(help="Permutations that the script's torch draws an epoch: one or two.")
    ] = "two",
    sampler_seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Of the script's sampler.")
    ] = 42,
    quiet: Quiet = False,
) -> None:
    """Write a label set back as files that existing training scripts read."""
    from labelcast.directory import Bundle
    from labelcast_producers.exports.sre2l import export_sre2l
    from labelcast_producers.formats.source import PermutationDraws

    if draws not in ("one", "two") or layout not in ("sre2l", "lpld"):
        raise InvalidRequestError("--draws must be one or two, --layout sre2l or lpld")
    bundle = Bundle(label_set)
    with progress_bar("export", "label", quiet=quiet) as progress:
        done = export_sre2l(
            bundle,
            out,
            batch_size=batch_size,
            draws=PermutationDraws(draws),
            sampler_seed=sampler_seed,
            layout=layout,
            progress=progress,
        )
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{done.views} labels in {done.batches} batches in {layout} layout in {out}")


def stage(
    added: Annotated[Path, typer.Argument(metavar="DIR", help="Label set of the new samples.")],
    out: Annotated[Path, typer.Option(help="Directory of the staged label set.")],
    base: Annotated[
        Path | None, typer.Option(help="Label set so far; without it, this is the first stage.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the stage, for people.")] = "stage",
    learning_rate: Annotated[
        float | None, typer.Option(help="That the stage is to be trained with.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Likewise.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Digest of the data set at this stage, for students.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a stage to a label set; the earlier segments are shared by digest."""
    from labelcast.directory import Bundle
    from labelcast_producers.encoding.stages import add_stage

    if learning_rate is not None:
        _require_positive("--learning-rate", learning_rate)
    bundle = add_stage(
        None if base is None else Bundle(base),
        Bundle(added),
        out,
        name=name,
        learning_rate=learning_rate,
        epochs=epochs,
        dataset=dataset,
    )
    stages = len(bundle.manifest.stages)
    if as_json:
        typer.echo(json.dumps({"digest": bundle.digest, "stages": stages}))
    else:
        typer.echo(
            f"{bundle.digest}\n{bundle.manifest.num_labels} labels, {stages} stages in {out}"
        )


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(inspect)
    app.command("import")(import_)
    app.command()(export)
    app.command()(stage)


def _tell_imported(facts: "SourceFacts", digest: str | None, out: Path, *, as_json: bool) -> None:
    result: dict[str, Any] = {
        "format": facts.format,
        "labels": facts.index.num_rows,
        "classes": facts.num_classes,
        "samples": len(facts.index.sample_ids),
        "seeds": len(facts.index.seeds),
        "order": str(facts.order),
    }
    if digest is not None:
        result["digest"] = digest
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(
        f"{result['labels']} labels of {result['classes']} classes, {result['samples']} samples,"
        f" sample order {facts.order}, in {out}"
    )
    follow = (
        f"push it: labelcast push {out} --tag NAME"
        if digest is not None
        else f"fit a codec: labelcast fit --labels {out} --target-bytes 8 --out codec"
    )
    typer.echo(follow, err=True)


def _require_positive(option: str, value: float) -> None:
    # Written so that NaN fails.
    if not 0 < value < float("inf"):
        raise InvalidRequestError(f"{option} is {value}, must be a number above 0")


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(line for line in path.read_text().splitlines() if line)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"cannot read {path}: {error}") from None


def _finding_json(finding: "Finding") -> dict[str, Any]:
    return {
        "format": finding.format,
        "title": finding.title,
        "inside": finding.inside,
        "missing": list(finding.missing),
        "foreign": list(finding.foreign),
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
