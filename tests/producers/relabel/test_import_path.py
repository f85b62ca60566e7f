"""Objects named on the command line, and what is said when they cannot be had."""

from pathlib import Path
from typing import Any

import pytest
import torch

from labelcast.errors import InvalidRequestError
from labelcast_producers.relabel.import_path import load_object

MODULE = """
import torch

NUMBERS = [1, 2]
NETWORK = torch.nn.Linear(2, 3)

class Network(torch.nn.Linear):
    def __init__(self, width=4):
        super().__init__(2, width)

    @classmethod
    def wide(cls):
        return cls(64)

def fussy(path):
    raise ValueError(f"{path} is damaged")

def scaled(factor, *, offset=0):
    return factor + offset
"""


@pytest.fixture(autouse=True)
def own_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_module.py").write_text(MODULE)
    (tmp_path / "lacks_something.py").write_text("import surely_not_installed")
    (tmp_path / "is_broken.py").write_text("import json\njson.no_such_thing")
    monkeypatch.syspath_prepend(tmp_path)


def test_values_are_given_and_functions_called() -> None:
    assert load_object("own_module:NUMBERS") == [1, 2]
    assert load_object("own_module:scaled", '{"factor": 3, "offset": 4}') == 7


def test_a_network_is_given_and_its_class_called() -> None:
    given: Any = load_object("own_module:NETWORK")
    assert given.out_features == 3
    assert load_object("own_module:Network").out_features == 4
    assert load_object("own_module:Network", '{"width": 9}').out_features == 9
    assert load_object("own_module:Network.wide").out_features == 64
    linear = load_object("torch.nn:Linear", '{"in_features": 1, "out_features": 5}')
    assert isinstance(linear, torch.nn.Linear)


@pytest.mark.parametrize(
    ("path", "arguments", "says"),
    [
        ("own_module", None, "package.module:name"),
        ("own_module:", None, "package.module:name"),
        (":scaled", None, "package.module:name"),
        ("", None, "package.module:name"),
        (".own_module:scaled", None, "package.module:name"),
        ("no_such_module:scaled", None, "cannot import 'no_such_module'"),
        ("own_module.deeper:scaled", None, "cannot import"),
        ("lacks_something:scaled", None, "surely_not_installed"),
        ("own_module:absent", None, "has no 'absent'"),
        ("own_module:Network.absent", None, "has no 'Network.absent'"),
        ("own_module:scaled", None, "factor"),
        ("own_module:scaled", '{"wrong": 1}', "wrong"),
        ("own_module:fussy", '{"path": "a.bin"}', "cannot call own_module:fussy"),
        ("own_module:fussy", '{"path": "a.bin"}', ": a.bin is damaged"),
        ("own_module:scaled", "[1]", "JSON object"),
        ("own_module:scaled", "{factor: 1}", "JSON object"),
        ("own_module:scaled", "1", "JSON object"),
    ],
)
def test_every_mistake_is_named(path: str, arguments: str | None, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        load_object(path, arguments)
    assert says in caught.value.message


def test_a_bug_of_the_module_is_shown_as_its_own() -> None:
    with pytest.raises(AttributeError, match="no_such_thing"):
        load_object("is_broken:anything")
