"""How commands are listed and shown: in panels by use, with an example for each."""

from importlib.metadata import version
from textwrap import indent
from typing import Any

import typer
from typer.core import TyperGroup

USE, PUBLISH, MAKE = "Use", "Publish", "Make"
_UNNAMED = "Commands"
# Click does not wrap a paragraph with this mark.
_VERBATIM = "\b"


class PanelGroup(TyperGroup):
    """A program whose help lists each command under its panel, in plain text."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per panel, in the order in which commands were added."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            panel = getattr(command, "rich_help_panel", None) or _UNNAMED
            panels.setdefault(panel, []).append((name, command.get_short_help_str(limit=100)))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


def add_command(
    app: typer.Typer,
    function: Any,
    *examples: str,
    name: str | None = None,
    panel: str | None = None,
) -> None:
    """Add a command that shows how it is called.

    Args:
        app: made by `new_app`.
        function: command with typer's annotations; its docstring is the help text.
        *examples: command lines to type; a long one continues after a backslash.
        name: command name; the function's by default.
        panel: panel that lists the command.
    """
    shown = indent("\n".join(examples), "  ")
    epilog = f"{_VERBATIM}\n{'Examples' if len(examples) > 1 else 'Example'}:\n{shown}"
    app.command(name, rich_help_panel=panel, epilog=epilog)(function)


def add_version(app: typer.Typer, program: str) -> None:
    """Add `--version`, which makes a program with one command name it all the same.

    Args:
        app: made by `new_app`.
        program: name of the program.
    """

    def show(asked: bool) -> None:
        if asked:
            typer.echo(f"{program} {version('labelcast')}")
            raise typer.Exit

    @app.callback()
    def options(
        _version: bool = typer.Option(
            False, "--version", callback=show, is_eager=True, help="Print the version and exit."
        ),
    ) -> None:
        pass
