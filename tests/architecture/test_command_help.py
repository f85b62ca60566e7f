"""What the two programs say of themselves: panels, versions, an example in every help."""

import re
import shlex
from typing import Any

import pytest
import typer.main

import labelcast
from benchmarks.reference import examples_of
from labelcast.cli.app import app as labelcast_app
from labelcast.cli.run import exit_code_of
from labelcast_producers.cli.relabel import RecipeName
from labelcast_producers.relabel.recipes import RECIPES
from labelcast_server.cli import app as server_app
from labelcast_server.settings import ServerSettings

PROGRAMS = {"labelcast": labelcast_app, "labelcast-server": server_app}
PANELS = {
    "Use": ["pull", "decode", "info"],
    "Publish": ["push", "tag", "retire", "list"],
    "Make": [
        "relabel",
        "fit",
        "encode",
        "inspect",
        "import",
        "stage",
        "federate",
        "export",
        "budget",
    ],
}


def commands() -> list[Any]:
    found = []
    for program, app in PROGRAMS.items():
        group: Any = typer.main.get_command(app)
        for name, command in group.commands.items():
            found.append(pytest.param(program, name, command, id=f"{program} {name}"))
    return found


@pytest.mark.parametrize(("program", "name", "command"), commands())
def test_every_help_has_an_example_that_can_be_typed(
    program: str, name: str, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(PROGRAMS[program], name=program, arguments=[name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    examples = examples_of(command)
    assert examples
    for example in examples:
        assert example.partition(" ")[0] in shown
        words = shlex.split(example)
        assert words[:2] == [program, name]
        # Parses the words as a run would: unknown options, values and absent ones are errors.
        command.make_context(name, words[2:])


@pytest.mark.parametrize(("program", "name", "command"), commands())
def test_helps_are_sentences(program: str, name: str, command: Any) -> None:
    summary = command.help.splitlines()[0]
    assert re.fullmatch(r"[A-Z].*\.", summary), (program, name)
    for parameter in command.params:
        text = getattr(parameter, "help", None) or ""
        assert re.fullmatch(r"[A-Z].*\.", text), (program, name, parameter.name)
        assert not re.match(r"(Of|At|To|That|For) ", text), (program, name, parameter.name)


def test_commands_are_listed_by_what_one_comes_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(labelcast_app, name="labelcast", arguments=["--help"]) == 0
    shown = capsys.readouterr().out
    found: dict[str, list[str]] = {}
    for line in shown.splitlines():
        if head := re.fullmatch(r"(\w+):", line):
            found[head[1]] = []
        elif entry := re.match(r"  (\w+) ", line):
            found.get(next(reversed(found), ""), []).append(entry[1])
    assert {name: entries for name, entries in found.items() if name in PANELS} == PANELS


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_say_their_version(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(PROGRAMS[program], name=program, arguments=["--version"]) == 0
    assert capsys.readouterr().out == f"{program} {labelcast.__version__}\n"


def test_defaults_that_serve_shows_are_those_of_the_settings() -> None:
    group: Any = typer.main.get_command(server_app)
    shown = {
        parameter.name: parameter.show_default
        for name in ("serve", "doctor")
        for parameter in group.commands[name].params
        if isinstance(parameter.show_default, str)
    }
    assert set(shown) == {"host", "grpc_port", "admin_port", "data_dir", "workers", "device"}
    for field, text in shown.items():
        assert str(ServerSettings.model_fields[field].default) == text


def test_every_recipe_can_be_named() -> None:
    assert sorted(RecipeName) == sorted(RECIPES)
