"""Two import-linter contracts that say the project's rules as they are worded.

Its own `forbidden` would have to name every library there is for the first, and `protected` fails
for the second on a library that nothing imports yet.
"""

import sys
from typing import cast

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


def is_within(module: str, packages: list[str]) -> bool:
    """Say whether `module` is one of `packages` or lies inside one."""
    return any(f"{module}.".startswith(f"{package}.") for package in packages)


class DirectImportsContract(Contract):
    """A rule about direct imports; `illegal_imports` of the subclass says which break it."""

    def illegal_imports(self, graph: ImportGraph) -> list[tuple[str, str]]:
        """Return (importer, imported) of every import that breaks the rule."""
        raise NotImplementedError

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Keep the contract if no import breaks it."""
        illegal = self.illegal_imports(graph)
        return ContractCheck(kept=not illegal, metadata={"illegal": illegal})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print one line per illegal import."""
        for importer, imported in check.metadata["illegal"]:
            output.print_error(f"{importer} imports {imported}", bold=False)


class OnlyImportsContract(DirectImportsContract):
    """Source packages import each other, the standard library and `allowed_modules`."""

    type_name = "only_imports"

    source_modules = fields.ListField(subfield=fields.StringField())
    allowed_modules = fields.ListField(subfield=fields.StringField())

    def illegal_imports(self, graph: ImportGraph) -> list[tuple[str, str]]:
        # import-linter puts the parsed options where the class declares their fields.
        sources = cast("list[str]", self.source_modules)
        allowed_everywhere = cast("list[str]", self.allowed_modules)
        return [
            (importer, imported)
            for source in sources
            for importer in sorted({source} | graph.find_descendants(source))
            for imported in sorted(graph.find_modules_directly_imported_by(importer))
            if imported.partition(".")[0] not in sys.stdlib_module_names
            and not is_within(imported, [*sources, *allowed_everywhere])
        ]


class HomeContract(DirectImportsContract):
    """Only modules of the `homes` packages import `libraries`."""

    type_name = "home"

    libraries = fields.ListField(subfield=fields.StringField())
    homes = fields.ListField(subfield=fields.StringField())

    def illegal_imports(self, graph: ImportGraph) -> list[tuple[str, str]]:
        homes = cast("list[str]", self.homes)
        return [
            (importer, library)
            for library in cast("list[str]", self.libraries)
            if library in graph.modules
            for importer in sorted(graph.find_modules_that_directly_import(library))
            if not is_within(importer, homes)
        ]
