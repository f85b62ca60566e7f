"""The command that prepares a label set for federated sites."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from labelcast.cli.panels import MAKE, add_command
from labelcast_producers.cli.produce import AsJson

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def federate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a label set.")],
    site: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=FILE", help="Site, and a text file of its sample IDs, one a line. Repeat."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for label set and fingerprint files.")],
    as_json: AsJson = False,
) -> None:
    """Give each federated site a file with the fingerprints of its own samples alone."""
    from labelcast.label_set_directory import LabelSetDirectory
    from labelcast_producers.encoding.federate import federate as make

    sites = dict(_site(given) for given in site)
    if len(sites) != len(site):
        raise typer.BadParameter("a site is named twice; give each once", param_hint="--site")
    made = make(LabelSetDirectory(directory), sites, out)
    files = [str(out / f"{name}.fingerprints") for name in sites]
    if as_json:
        typer.echo(json.dumps({"digest": made.digest, "files": files}))
    else:
        typer.echo(f"{made.digest}\npublish {made.directory}, and give each site its own file:")
        typer.echo("\n".join(files))


def _site(given: str) -> "tuple[str, NDArray[np.uint64]]":
    import numpy as np

    name, _, path = given.partition("=")
    try:
        return name, np.array(Path(path).read_text().split(), dtype=np.uint64)
    except (OSError, ValueError, OverflowError):
        raise typer.BadParameter(
            f"{given!r}: give NAME=FILE, with a text file of sample IDs, one a line",
            param_hint="--site",
        ) from None


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    add_command(
        app,
        federate,
        "labelcast federate label-set/ --out federated/ \\\n"
        "    --site north=north.txt --site south=south.txt",
        panel=MAKE,
    )
