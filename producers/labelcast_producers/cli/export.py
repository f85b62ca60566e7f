"""The command that writes label sets as files of other layouts."""

from pathlib import Path
from typing import Annotated

import typer

from labelcast.errors import InvalidRequestError
from labelcast_producers.cli.produce import Quiet

BundleDirectory = Annotated[Path, typer.Argument(metavar="DIR", help="A label set.")]


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
    from tqdm import tqdm

    from labelcast.directory import Bundle
    from labelcast_producers.exports.sre2l import export_sre2l
    from labelcast_producers.formats.source import PermutationDraws

    if draws not in ("one", "two") or layout not in ("sre2l", "lpld"):
        raise InvalidRequestError("--draws must be one or two, --layout sre2l or lpld")
    bundle = Bundle(label_set)
    with tqdm(total=bundle.manifest.num_labels, desc="export", unit="label", disable=quiet) as bar:

        def on_rows(rows: int) -> None:
            bar.update(rows)

        done = export_sre2l(
            bundle,
            out,
            batch_size=batch_size,
            draws=PermutationDraws(draws),
            sampler_seed=sampler_seed,
            layout=layout,
            on_rows=on_rows,
        )
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{done.views} labels in {done.batches} batches in {layout} layout in {out}")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)
