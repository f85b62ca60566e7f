"""`labelcast-server`: serve label sets, and make them. Heavy imports stay inside commands."""

import typer

from labelcast.cli.run import run
from labelcast_server.cli import produce, serve

app = typer.Typer(
    name="labelcast-server",
    help="Serve compressed soft labels, and make them: relabel, fit, encode.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
serve.register(app)
produce.register(app)


def main() -> None:
    """Console entry point."""
    run(app)
