"""The command that adds a stage to a label set."""

import json
from pathlib import Path
from typing import Annotated

import typer

from labelcast.cli.panels import MAKE, add_command
from labelcast_producers.cli.produce import AsJson, require_positive


def stage(
    added: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory of a label set of the new samples.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the staged label set.")],
    base: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the label set so far; without it, this is the first stage."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the stage to show.")] = "stage",
    learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate to train the stage with.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs to train the stage for.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Digest that students expect of the data set at this stage.")
    ] = None,
    no_fingerprints: Annotated[
        bool,
        typer.Option(
            "--no-fingerprints",
            help="Leave out the fingerprints of images: students then compare none.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add a stage to a label set. Earlier segments are shared, not copied."""
    from labelcast.identifiers import digest_from
    from labelcast.label_set_directory import LabelSetDirectory
    from labelcast_producers.encoding.add_stage import add_stage

    if learning_rate is not None:
        require_positive("--learning-rate", learning_rate)
    label_set = add_stage(
        None if base is None else LabelSetDirectory(base),
        LabelSetDirectory(added),
        out,
        name=name,
        learning_rate=learning_rate,
        epochs=epochs,
        dataset=None if dataset is None else digest_from(dataset),
        keep_fingerprints=not no_fingerprints,
    )
    stages = len(label_set.manifest.stages)
    if as_json:
        typer.echo(json.dumps({"digest": label_set.digest, "stages": stages}))
    else:
        typer.echo(
            f"{label_set.digest}\n{label_set.manifest.num_labels} labels, {stages} stages in {out}"
        )


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(
        app,
        stage,
        "labelcast stage new-samples/ --base label-set/ \\\n"
        "    --learning-rate 0.001 --epochs 50 --out grown/",
        panel=MAKE,
    )
