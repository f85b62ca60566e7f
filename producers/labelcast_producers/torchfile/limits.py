"""Limits on what a file may ask for, and the errors of files that exceed them or are damaged."""

from dataclasses import dataclass
from pathlib import Path

from labelcast.errors import LabelFileError

_MAX_NAME_LENGTH = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a `torch.save` file may cost to open, however it was made.

    Attributes:
        max_pickle_bytes: size of `data.pkl`, which holds everything but the tensors' values.
        max_entries: number of zip entries; every tensor storage is one.
        max_objects: number of lists, tuples, dictionaries, calls and memo entries in the pickle;
            each takes one to five bytes there and a hundred or more in memory. The rest of the
            pickle takes up to 20 times its size, as short strings.
        max_values: number of values in the finished tree, counted as often as they are reached: a
            few hundred bytes of lists that hold one another twice can stand for 2**100 values.
        max_depth: depth of nested containers; 1 is a flat list.
        max_expansion: total size of all tensors and arrays, as a multiple of the file's size, since
            several may share values (views) and one may repeat them (stride 0).
        free_expansion_bytes: size allowed on top of that, so that small files may repeat values.
    """

    max_pickle_bytes: int = 2**26
    max_entries: int = 100_000
    max_objects: int = 4_000_000
    max_values: int = 2**25
    max_depth: int = 64
    max_expansion: int = 4
    free_expansion_bytes: int = 2**20


DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class FileErrors:
    """Makes the errors of one file, all of which name it.

    Attributes:
        path: path of the file.
    """

    path: Path

    def unreadable(self, error: OSError) -> LabelFileError:
        """The operating system could not read it."""
        return LabelFileError(f"cannot read {self.path}: {error.strerror or error}", path=self.path)

    def foreign(self, what: str) -> LabelFileError:
        """It seems intact, but is not a file of this format."""
        return LabelFileError(f"{self.path} {what}", path=self.path)

    def damaged(self, what: str) -> LabelFileError:
        """Bytes are missing or contradict each other."""
        return LabelFileError(
            f"{self.path} is damaged: {what}; fetch or write it again", path=self.path
        )

    def excessive(self, what: str, advice: str = "save it in smaller parts") -> LabelFileError:
        """It exceeds a limit."""
        return LabelFileError(
            f"{self.path} {what}, more than labelcast opens; {advice}", path=self.path
        )

    # Only `facts["forbidden"]` tells it from damage, as the exception tree has no class for it.
    def forbidden(self, name: str) -> LabelFileError:
        """Unpickling it would run something.

        Args:
            name: what it would run, `module.name` as in the file.
        """
        name = printable(name)
        return LabelFileError(
            f"{self.path} wants to run `{name}`; labelcast reads data alone: save it again as"
            " tensors, numbers, strings, lists and dictionaries",
            path=self.path,
            forbidden=name,
        )

    def forbidden_opcode(self, name: str) -> LabelFileError:
        """Its pickle has an instruction that data does not need.

        Args:
            name: name of the opcode.
        """
        return LabelFileError(
            f"{self.path} uses the pickle opcode {name}, which tensors, numbers, strings, lists and"
            " dictionaries do not need; save it again as these, with torch's own pickle protocol",
            path=self.path,
            forbidden=f"pickle opcode {name}",
        )


def printable(name: str) -> str:
    """Make a name from a file harmless to a terminal, and bound its length."""
    shown = "".join(sign if " " <= sign <= "~" else "?" for sign in name[: _MAX_NAME_LENGTH + 1])
    return shown if len(shown) <= _MAX_NAME_LENGTH else shown[:_MAX_NAME_LENGTH] + "..."
