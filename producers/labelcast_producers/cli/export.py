"""The command that writes label sets in other projects' file layouts."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from labelcast.cli.panels import MAKE, add_command
from labelcast_producers.cli.produce import Quiet
from labelcast_producers.cli.progress_bar import progress_bar


class ScriptDraws(StrEnum):
    """How many permutations a training script's torch draws per epoch."""

    ONE = "one"
    TWO = "two"


class Layout(StrEnum):
    """Layouts that can be written."""

    SRE2L = "sre2l"
    LPLD = "lpld"


class LogitType(StrEnum):
    """Types of the logits in the files."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"


def export(
    label_set: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a label set.")],
    out: Annotated[Path, typer.Option(help="Directory to create for the files.")],
    batch_size: Annotated[
        int, typer.Option(min=1, help="Batch size of the script that will read the files.")
    ],
    layout: Annotated[
        Layout, typer.Option(help="Layout of the files; lpld adds a list of samples.")
    ] = Layout.SRE2L,
    draws: Annotated[
        ScriptDraws, typer.Option(help="Permutations per epoch that the script's torch draws.")
    ] = ScriptDraws.TWO,
    sampler_seed: Annotated[
        int, typer.Option(min=0, max=2**63 - 1, help="Seed of the script's sampler.")
    ] = 42,
    dtype: Annotated[
        LogitType, typer.Option(help="Type of the logits; SRe2L's own files hold float16.")
    ] = LogitType.FLOAT16,
    quiet: Quiet = False,
) -> None:
    """Write a label set as files that existing training scripts read."""
    from labelcast.label_set_directory import LabelSetDirectory
    from labelcast_producers.exports.sre2l import LOGIT_TYPES, export_sre2l
    from labelcast_producers.formats.source import PermutationDraws

    on_disk = LabelSetDirectory(label_set)
    with progress_bar("export", "label", quiet=quiet) as progress:
        done = export_sre2l(
            on_disk,
            out,
            batch_size=batch_size,
            draws=PermutationDraws(draws),
            sampler_seed=sampler_seed,
            layout=layout,
            dtype=LOGIT_TYPES[dtype],
            progress=progress,
        )
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{done.views} labels in {done.batches} batches in {layout} layout in {out}")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(
        app, export, "labelcast export label-set/ --batch-size 1024 --out files/", panel=MAKE
    )
