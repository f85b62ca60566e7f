"""The README says what is so: tables match results, code type-checks, paths exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from benchmarks.report import README, render
from labelcast.cli.app import app as client_app
from labelcast_server.cli import app as server_app

ROOT = README.parent
TEXT = README.read_text()
FENCES = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)


def test_tables_are_those_of_the_results() -> None:
    assert render(TEXT) == TEXT, "run `make report`"


def test_the_demo_output_is_there() -> None:
    output = re.search(r"<!-- demo-output -->(.*?)<!-- end-output -->", TEXT, re.DOTALL)
    assert output is not None
    assert "stream-codes" in output[1]


def test_python_examples_type_check(tmp_path: Path) -> None:
    setting = "import torch\nfrom typing import Any\ndataset: Any\nstudent: torch.nn.Module\n"
    code = [block for language, block in FENCES if language == "python"]
    assert code
    for number, block in enumerate(code):
        (tmp_path / f"example_{number}.py").write_text(setting + block)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, *map(str, tmp_path.iterdir())], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("program", "app"), [("labelcast", client_app), ("labelcast-server", server_app)]
)
def test_commands_and_options_exist(program: str, app: typer.Typer) -> None:
    group = typer.main.get_command(app)
    shell = "\n".join(block for language, block in FENCES if language == "sh")
    lines = shell.replace("\\\n", " ").splitlines()
    found = [line.split("#")[0].split() for line in lines if line.startswith(f"{program} ")]
    assert found
    for _, name, *arguments in found:
        command = group.commands[name]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in arguments if word.startswith("--")} <= known, name


def test_the_map_points_at_what_is_there() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", TEXT, re.MULTILINE)
    assert len(rows) > 8
    for row in rows:
        first, *others = re.findall(r"`([^`]+)`", row)
        assert (ROOT / first).exists(), first
        parent = (ROOT / first).parent
        for other in others:
            assert (parent / other).exists() or (ROOT / other).exists(), other
