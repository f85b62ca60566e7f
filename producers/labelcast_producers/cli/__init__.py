"""Commands that make label sets; `labelcast` finds them by their entry point."""

import typer

from labelcast_producers.cli import (
    budget,
    export,
    federate,
    importing,
    produce,
    relabel,
    relabel_text,
    stage,
)


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for group in (relabel, relabel_text, produce, importing, stage, federate, export, budget):
        group.add_to(app)
