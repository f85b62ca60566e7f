"""Commands for labels from other projects: inspect, import."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from labelcast.cli.panels import MAKE, add_command
from labelcast.cli.printing import print_json, print_pairs
from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError
from labelcast_producers.cli.produce import (
    AsJson,
    Device,
    FromProbabilities,
    Quiet,
    TeacherOutput,
    require_positive,
)
from labelcast_producers.cli.progress_bar import progress_bar

if TYPE_CHECKING:
    from labelcast.identifiers import Digest
    from labelcast_producers.formats.source import Finding, SourceFacts

Labels = Annotated[Path, typer.Argument(metavar="PATH", help="File or directory with labels.")]
Format = Annotated[str, typer.Option("--format", help="Name of the format, or auto.")]


class Draws(StrEnum):
    """How many permutations a producer's torch drew per epoch; auto finds out."""

    AUTO = "auto"
    ONE = "one"
    TWO = "two"


def inspect(path: Labels, format_name: Format = "auto", as_json: AsJson = False) -> None:
    """Show the format of label files, what they hold and what they do not say."""
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
        Path, typer.Option(help="Directory for dense labels, or for a label set with --codec.")
    ],
    format_name: Format = "auto",
    codec: Annotated[
        str | None,
        typer.Option(
            help="Codec to encode with on the fly: directory from fit; or raw:fp16, raw:fp32,"
            " topk:K[:recovery]. Labels that are stored as top-k stay so without it."
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Class directories of the images that were labelled; they name the samples."
        ),
    ] = None,
    image_list: Annotated[
        Path | None,
        typer.Option(help="File of paths below --images, one per line, in the producer's order."),
    ] = None,
    channels: Annotated[
        int,
        typer.Option(min=1, max=3, help="Colour channels that students read: 3, or 1 for grey."),
    ] = 3,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of images that were labelled, where --images cannot be given."
        ),
    ] = None,
    draws: Annotated[
        Draws,
        typer.Option(
            help="Permutations per epoch that the producer's torch drew: one in old versions, else"
            " two."
        ),
    ] = Draws.AUTO,
    sampler_seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of the producer's sampler.")
    ] = 42,
    label_kind: Annotated[
        LabelKind | None,
        typer.Option(
            help="Kind of the values, where a file does not tell or holds another kind than usual."
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            help="Softmax temperature: of stored probabilities, or to apply before keeping the"
            " top k."
        ),
    ] = None,
    recovery: Annotated[
        Recovery | None,
        typer.Option(help="What the classes outside the top k get, if the files do not say."),
    ] = None,
    view_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pixels per side of the producer's views. By default what CutMix boxes or a"
            " configuration tell, else 224; asked for where images speak against that.",
        ),
    ] = None,
    class_names: Annotated[
        Path | None, typer.Option(help="File of class names, one per line, in order.")
    ] = None,
    input_ids: Annotated[
        Path | None,
        typer.Option(help="Parquet file to write the tokens of DistillKit's sequences to."),
    ] = None,
    apply_patches: Annotated[
        bool,
        typer.Option(
            "--apply-patches",
            help="Apply EDC's patch orders, which its published code stores but does not apply.",
        ),
    ] = False,
    verify_with: Annotated[
        str | None,
        typer.Option(
            metavar="TEACHER",
            help="Import path of the teacher, which labels some views again to settle their order.",
        ),
    ] = None,
    verify_args: Annotated[
        str | None, typer.Option(help="Keyword arguments of the teacher, as a JSON object.")
    ] = None,
    teacher_output: TeacherOutput = None,
    from_probabilities: FromProbabilities = False,
    teacher_name: Annotated[
        str | None,
        typer.Option(help="Name of the teacher to show; the path of the labels by default."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Import labels that others made. Resumes if interrupted."""
    import warnings

    from labelcast_producers.formats.importing import Import, SampleOrderWarning
    from labelcast_producers.formats.source import ImportOptions, PermutationDraws
    from labelcast_producers.relabel.import_path import load_object

    of_teacher = {
        "--verify-args": verify_args is not None,
        "--teacher-output": teacher_output is not None,
        "--from-probabilities": from_probabilities,
    }
    for option, given in of_teacher.items():
        if given and verify_with is None:
            raise InvalidRequestError(f"{option} needs --verify-with: give that too")
    if verify_with is not None and images is None:
        # `Import.verify` refuses it too, but only after minutes of scanning.
        raise InvalidRequestError("--verify-with labels images again and needs --images")
    if temperature is not None:
        require_positive("--temperature", temperature)
    options = ImportOptions(
        images=images,
        image_list=image_list,
        channels=channels,
        num_samples=samples,
        draws=PermutationDraws(draws),
        sampler_seed=sampler_seed,
        label_kind=label_kind,
        temperature=temperature,
        recovery=recovery,
        view_size=view_size,
        class_names=None if class_names is None else _lines(class_names),
        apply_patches=apply_patches,
    )
    teacher = None if verify_with is None else load_object(verify_with, verify_args)
    with progress_bar("scan", "file", quiet=quiet) as progress:
        labels = Import.open(
            path,
            options,
            format_name=format_name,
            teacher_name=teacher_name,
            progress=progress,
        )
    if teacher is not None:
        with progress_bar("scan under other draws", "file", quiet=quiet) as progress:
            found = labels.verify(
                teacher,
                device=device,
                output=teacher_output,
                from_probabilities=from_probabilities,
                progress=progress,
            )
        drawn = {
            PermutationDraws.AUTO: "",
            PermutationDraws.ONE: ", one permutation an epoch",
            PermutationDraws.TWO: ", two permutations an epoch",
        }[found.draws]
        typer.echo(
            f"order verified on {found.views} views: top-1 agreement {found.agreement:.1%}{drawn}",
            err=True,
        )
    for note in labels.notes:
        typer.echo(f"note: {note}", err=True)
    if input_ids is not None:
        labels.write_input_ids(input_ids)
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


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    add_command(app, inspect, "labelcast inspect files/", panel=MAKE)
    add_command(
        app,
        import_,
        "labelcast import files/ --images train/ --out dense/",
        "labelcast import files/ --images train/ --codec codec/ --out label-set/",
        name="import",
        panel=MAKE,
    )


def _tell_imported(
    facts: "SourceFacts", digest: "Digest | None", out: Path, *, as_json: bool
) -> None:
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
