"""The command that adds a stage to a label set."""

import json
from pathlib import Path
from typing import Annotated

import typer

from labelcast_producers.cli.produce import AsJson, require_positive


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
        require_positive("--learning-rate", learning_rate)
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
    """Add the command."""
    app.command()(stage)
