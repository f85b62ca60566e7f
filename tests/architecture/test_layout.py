"""What the tree may look like: small files, telling names, one home for each check."""

import re
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "client",
    "server",
    "producers",
    "glyphs",
    "benchmarks",
    "examples",
    "proto",
    "tests",
)
GENERATED = ROOT / "client" / "labelcast" / "v2"
MAX_LINES = 400
DRAWERS = re.compile(r"(^|_)(utils?|helpers?|commons?|misc|managers?)(_|$)")


def paths() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if "__pycache__" not in path.parts and not path.is_relative_to(GENERATED):
                yield path


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_files_are_small() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in paths()
        if path.suffix == ".py"
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_package_is_crowded() -> None:
    modules = Counter(
        path.parent
        for folder in ("client", "server", "producers", "glyphs")
        for path in (ROOT / folder).rglob("*.py")
        if path.stem != "__init__" and not path.is_relative_to(GENERATED)
    )
    crowded = {
        str(folder.relative_to(ROOT)): count for folder, count in modules.items() if count > 12
    }
    assert crowded == {}


def test_half_of_the_files_are_short() -> None:
    lengths = [
        len(path.read_text().splitlines())
        for folder in ("client", "server", "producers")
        for path in (ROOT / folder).rglob("*.py")
        if not path.is_relative_to(GENERATED)
    ]
    assert statistics.median(lengths) <= 150


def test_no_drawer_names() -> None:
    assert [str(path) for path in paths() if DRAWERS.search(path.stem)] == []


def test_licence() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert pyproject()["project"]["license"] == "Apache-2.0"


@pytest.mark.parametrize("script", sorted(pyproject()["project"]["scripts"]))
def test_console_scripts_resolve(script: str) -> None:
    installed = metadata.distribution("labelcast").entry_points.select(group="console_scripts")
    assert installed[script].value == pyproject()["project"]["scripts"][script]
    assert callable(installed[script].load())


def test_dependencies_have_floors_and_no_ceilings() -> None:
    project = pyproject()["project"]
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
        specifier = requirement.partition(";")[0]
        assert ">=" in specifier, requirement
        assert not re.search(r"<|==|~=|!=", specifier), requirement


def test_constraints_pin_every_direct_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "==" in line}
    project = pyproject()["project"]
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
        assert re.split(r"[>;]", requirement)[0].strip() in pinned


def test_make_check_runs_every_check() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
    checks = ("ruff check", "ruff format --check", "mypy", "lint-imports", "generate.py --check")
    for command in (*checks, "hadolint", "check-jsonschema"):
        assert command in recipe


def test_ci_runs_the_make_targets() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    stages = re.findall(r"^(?:DEMO_QUICK=1 )?stage (.+)$", script.read_text(), re.MULTILINE)
    assert stages == ["make test", "make check", "make demo"]
