"""README and docs say what is so: tables match their sources, code type-checks, links resolve."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from benchmarks.report import PAGES, README, render
from labelcast.augmentation import AugmentationPolicy
from labelcast.cli.app import app as client_app
from labelcast_server.cli import app as server_app

ROOT = README.parent
DOCS = ROOT / "docs"
MAP = DOCS / "reference" / "architecture.md"
MAX_README_LINES = 150


def fences(language: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for found, block in re.findall(r"```(\w+)\n(.*?)```", page.read_text(), re.DOTALL):
            if found == language:
                yield page, block


def anchors(page: Path) -> set[str]:
    """Where a link into a page may point, as GitHub names its headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_those_of_their_sources(page: Path) -> None:
    text = page.read_text()
    assert render(text) == text, "run `make report`"


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MAX_README_LINES


def test_the_demo_output_is_there() -> None:
    text = (DOCS / "measured" / "demo.md").read_text()
    output = re.search(r"<!-- demo-output -->(.*?)<!-- end-output -->", text, re.DOTALL)
    assert output is not None
    assert "stream-codes" in output[1]


def test_python_examples_type_check(tmp_path: Path) -> None:
    setting = "import torch\nfrom typing import Any\ndataset: Any\nstudent: torch.nn.Module\n"
    setting += "texts: Any\nsample_ids: Any\n"
    code = list(fences("python"))
    assert {page.parent.name for page, _ in code} >= {ROOT.name, "start", "guides"}
    for number, (page, block) in enumerate(code):
        (tmp_path / f"{page.stem}_{number}.py").write_text(setting + block)
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, *map(str, tmp_path.iterdir())], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_policies_are_read() -> None:
    values = [json.loads(block) for _, block in fences("json")]
    policies = [value for value in values if "policy" in value]
    assert policies
    for value in policies:
        assert AugmentationPolicy.from_json(value).view_height == value["view_height"]


@pytest.mark.parametrize(
    ("program", "app"), [("labelcast", client_app), ("labelcast-server", server_app)]
)
def test_commands_and_options_exist(program: str, app: typer.Typer) -> None:
    group: Any = typer.main.get_command(app)
    shell = "\n".join(block for _, block in fences("sh"))
    lines = shell.replace("\\\n", " ").splitlines()
    found = [line.split("#")[0].split() for line in lines if line.startswith(f"{program} ")]
    assert found
    for _, name, *arguments in found:
        command = group.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in arguments if word.startswith("--")} <= known, name


def test_the_map_points_at_what_is_there() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", MAP.read_text(), re.MULTILINE)
    assert len(rows) > 8
    for row in rows:
        first, *others = re.findall(r"`([^`]+)`", row)
        assert (ROOT / first).exists(), first
        parent = (ROOT / first).parent
        for other in others:
            assert (parent / other).exists() or (ROOT / other).exists(), other


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_linked_from_the_index() -> None:
    linked = re.findall(r"\]\(([^)#]+)", (DOCS / "README.md").read_text())
    reached = {(DOCS / link).resolve() for link in linked}
    assert set(DOCS.rglob("*.md")) - {DOCS / "README.md"} <= reached
