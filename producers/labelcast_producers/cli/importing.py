"""Commands for labels that others made: inspect, import."""

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
from labelcast_producers.cli.produce import AsJson, Device, Quiet, require_positive

if TYPE_CHECKING:
    from labelcast_producers.formats.importing import Imported
    from labelcast_producers.formats.source import Finding, ImportOptions, Source, SourceFacts

Labels = Annotated[Path, typer.Argument(metavar="PATH", help="File or directory with labels.")]
Format = Annotated[str, typer.Option("--format", help="Name of the format, or auto.")]
_VIEW_SIZE = 224


class Draws(StrEnum):
    """Permutations an epoch that a producer's torch drew; auto finds out."""

    AUTO = "auto"
    ONE = "one"
    TWO = "two"


def inspect(path: Labels, format_name: Format = "auto", as_json: AsJson = False) -> None:
    """Show the format of label files, what they hold and what they do not say."""
    from labelcast_producers.formats.importing import recognise

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
        LabelKind | None, typer.Option(help="Kind of plain arrays, where their values do not tell.")
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
        typer.Option(help="What the classes outside the top k get, where files do not say."),
    ] = None,
    view_size: Annotated[
        int | None,
        typer.Option(min=1, help="Pixels per side of the producer's views; 224 by default."),
    ] = None,
    class_names: Annotated[
        Path | None, typer.Option(help="File of class names, one per line, in order.")
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
    teacher_name: Annotated[
        str | None,
        typer.Option(help="Name of the teacher to show; the path of the labels by default."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Import labels that others made. Resumes if interrupted."""
    from tqdm import tqdm

    from labelcast_producers.formats.importing import import_labels, open_source
    from labelcast_producers.formats.source import ImportOptions, PermutationDraws

    if verify_args is not None and verify_with is None:
        raise InvalidRequestError("--verify-args needs --verify-with: give that too")
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
        view_size=view_size or _VIEW_SIZE,
        class_names=None if class_names is None else _lines(class_names),
        apply_patches=apply_patches,
    )
    if verify_with is None:
        source = open_source(path, options, format_name)
    else:
        source, options = _verified(path, options, format_name, verify_with, verify_args, device)
    _tell_notes(source.facts, view_size)
    with tqdm(total=source.facts.index.num_rows, desc="import", unit="label", disable=quiet) as bar:

        def on_rows(rows: int) -> None:
            bar.update(rows)

        imported = import_labels(
            path,
            source,
            options,
            out,
            teacher_name=teacher_name or path.name,
            codec=codec,
            temperature=temperature or 1.0,
            device=device,
            on_rows=on_rows,
        )
    _tell_imported(imported, out, as_json=as_json)


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


def _verified(
    path: Path,
    options: "ImportOptions",
    format_name: str,
    teacher: str,
    teacher_args: str | None,
    device: str,
) -> tuple["Source", "ImportOptions"]:
    import dataclasses

    from labelcast.label_set import SampleOrder
    from labelcast.torch.images.samples import SampleTable
    from labelcast_producers.formats.importing import open_source
    from labelcast_producers.formats.source import PermutationDraws
    from labelcast_producers.formats.verification import verify_order
    from labelcast_producers.relabel.import_path import load_object

    if options.images is None:
        raise InvalidRequestError("--verify-with labels images again and needs --images")
    table = SampleTable(options.image_folder())
    tried = (
        [PermutationDraws.ONE, PermutationDraws.TWO]
        if options.draws is PermutationDraws.AUTO
        else [options.draws]
    )
    candidates = {
        draws: open_source(path, dataclasses.replace(options, draws=draws), format_name)
        for draws in tried
    }
    found = verify_order(candidates, load_object(teacher, teacher_args), table, device=device)
    source = candidates[found.draws]
    typer.echo(
        f"order verified on {found.views} views: top-1 agreement {found.agreement:.1%},"
        f" {found.draws} permutation{'s' if found.draws is PermutationDraws.TWO else ''} an epoch",
        err=True,
    )
    source.facts = dataclasses.replace(source.facts, order=SampleOrder.VERIFIED)
    return source, dataclasses.replace(options, draws=found.draws)


def _tell_notes(facts: "SourceFacts", view_size: int | None) -> None:
    from labelcast.augmentation import RecordedPolicy

    notes = list(facts.notes)
    if view_size is None and isinstance(facts.policy, RecordedPolicy):
        notes.append(
            f"views are assumed to be {_VIEW_SIZE} pixels per side; --view-size changes that"
        )
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _tell_imported(imported: "Imported", out: Path, *, as_json: bool) -> None:
    from labelcast.directory import Bundle
    from labelcast_producers.formats.output.agreement import first_and_last_agreement

    facts = imported.facts
    agreement = first_and_last_agreement(imported)
    if agreement is not None and agreement[1] < agreement[0] / 2:
        typer.echo(
            f"warning: labels of the first seed name a class that their view shows in"
            f" {agreement[0]:.0%} of views, those of the last in {agreement[1]:.0%}: the order of"
            " samples is probably wrong; try --draws one or two, or --verify-with the teacher",
            err=True,
        )
    result: dict[str, Any] = {
        "format": facts.format,
        "labels": facts.index.num_rows,
        "classes": facts.num_classes,
        "samples": len(facts.index.sample_ids),
        "seeds": len(facts.index.seeds),
        "order": str(facts.order),
    }
    if isinstance(imported.result, Bundle):
        result["digest"] = imported.result.digest
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(
        f"{result['labels']} labels of {result['classes']} classes, {result['samples']} samples,"
        f" sample order {facts.order}, in {out}"
    )
    follow = (
        f"push it: labelcast push {out} --tag NAME"
        if "digest" in result
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
