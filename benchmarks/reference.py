"""Tables that are made from the code: public names, commands, errors."""

import inspect
import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import typer.main

from labelcast.errors import ERRORS_BY_REASON, LabelcastError
from labelcast_server.error_catalog import status_of


def api_table(package: ModuleType) -> str:
    """Public names of a package, with the first line of what they say of themselves."""
    names = (f"| `{name}` | {_summary(getattr(package, name))} |" for name in package.__all__)
    return "\n".join(["| name | what it is |", "|---|---|", *names])


def errors_table() -> str:
    """Errors as the tree has them, with the statuses that they travel under."""
    lines = ["| reason | class | meaning | gRPC | HTTP |", "|---|---|---|---|---|"]
    for reason, error in ERRORS_BY_REASON.items():
        status = status_of(error(""))
        cells = [f"`{reason}`", _class_name(error), _summary(error), status.grpc, str(status.http)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def commands_table(application: str) -> str:
    """Commands of a program in the order of its help."""
    module, _, name = application.partition(":")
    group: Any = typer.main.get_command(getattr(import_module(module), name))
    lines = ["| | command | what it does | for example |", "|---|---|---|---|"]
    above = ""
    for command_name, command in group.commands.items():
        panel = command.rich_help_panel or ""
        cells = [
            "" if panel == above else panel,
            f"`{command_name}`",
            command.help.splitlines()[0],
            f"`{examples_of(command)[0]}`",
        ]
        above = panel
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def examples_of(command: Any) -> list[str]:
    """The command lines of a command's help, each on one line."""
    text = re.sub(r"\s*\\\n\s*", " ", command.epilog)
    return [line.strip() for line in text.splitlines()[2:]]


def _summary(named: Any) -> str:
    return (inspect.getdoc(named) or "").partition("\n\n")[0].replace("\n", " ")


def _class_name(error: type[LabelcastError]) -> str:
    depth = len(error.__mro__) - len(LabelcastError.__mro__)
    return f"{'· ' * depth}`{error.__name__}`"


def _api(package: str) -> str:
    return api_table(import_module(package))


REFERENCE: dict[str, Callable[[], str]] = {
    "api-labelcast": partial(_api, "labelcast"),
    "api-torch": partial(_api, "labelcast.torch"),
    "commands-labelcast": partial(commands_table, "labelcast.cli.app:app"),
    "commands-server": partial(commands_table, "labelcast_server.cli:app"),
    "errors": errors_table,
}
