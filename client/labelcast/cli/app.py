"""The command line, put together from its groups."""

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

import typer

from labelcast.cli import fetching, publishing, showing
from labelcast.cli.panels import add_version
from labelcast.cli.run import new_app

COMMANDS = "labelcast.commands"
"""Entry points of those who add commands: functions that take the application."""


def application() -> typer.Typer:
    """The command line with every group that is installed."""
    made = new_app("Use, publish and make label sets: soft labels kept in a few bytes.")
    add_version(made, "labelcast")
    for group in (fetching, showing, publishing):
        group.add_to(made)
    for point in entry_points(group=COMMANDS):
        if _is_here(point):
            point.load()(made)
    return made


def _is_here(point: EntryPoint) -> bool:
    # One distribution, of which an image for the service leaves the producers out.
    return find_spec(point.module.partition(".")[0]) is not None


app = application()
