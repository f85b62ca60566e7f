"""The import rules hold, and the contracts written for two of them notice a breach."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from tests.architecture.contracts import HomeContract, OnlyImportsContract

ROOT = Path(__file__).parents[2]


def graph_of(importer: str, imported: str) -> grimp.ImportGraph:
    graph = grimp.ImportGraph()
    graph.add_module(importer)
    graph.add_module(imported)
    graph.add_import(importer=importer, imported=imported)
    return graph


def test_import_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("imported", "kept"),
    [
        ("numpy", True),
        ("safetensors", True),
        ("labelcast.errors", True),
        ("labelcast.codec.bitpack", True),
        ("collections", True),
        ("torch", False),
        ("labelcast", False),
        ("labelcast.errors_of_others", False),
        ("labelcast.codecs", False),
    ],
)
def test_only_imports_contract(imported: str, kept: bool) -> None:
    graph = graph_of("labelcast.codec", imported)
    options = {
        "source_modules": ["labelcast.codec"],
        "allowed_modules": ["labelcast.errors", "numpy", "safetensors"],
    }
    contract = OnlyImportsContract("a rule", {}, options)
    assert contract.check(graph, verbose=False).kept is kept


@pytest.mark.parametrize(
    ("importer", "kept"),
    [
        ("labelcast_server.store", True),
        ("labelcast_server.store.redis.link", True),
        ("labelcast_server.delivery.service", False),
        ("labelcast_server.store_of_others", False),
        ("labelcast_server", False),
    ],
)
def test_home_contract(importer: str, kept: bool) -> None:
    options = {"libraries": ["redis", "never_imported"], "homes": ["labelcast_server.store"]}
    contract = HomeContract("a rule", {}, options)
    assert contract.check(graph_of(importer, "redis"), verbose=False).kept is kept
