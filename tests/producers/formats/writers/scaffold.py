"""What all writers share: a class says what its format has of its own, and writes it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Concatenate, ParamSpec

import torch

from tests.producers.formats.writers.truth import Truth

P = ParamSpec("P")


class Writer(ABC):
    """One format."""

    @abstractmethod
    def write(self, directory: Path) -> Truth:
        """Write all files into `directory`, which need not exist, and tell what they say."""


@dataclass(frozen=True, kw_only=True)
class ViewWriter(Writer):
    """A format of views that are drawn one by one, and never mixed.

    Attributes:
        samples, classes: of the data set.
        epochs: views of each sample.
        batch_size: unused: such files know no batches.
        seed: of all that is drawn.
    """

    samples: int
    epochs: int
    classes: int
    batch_size: int | None = None
    seed: int = 0


def writer(make: Callable[P, Writer]) -> Callable[Concatenate[Path, P], Truth]:
    """A function that takes a directory and what `make` takes, and writes."""

    def write(directory: Path, /, *args: P.args, **kwargs: P.kwargs) -> Truth:
        return make(*args, **kwargs).write(directory)

    return write


def save(content: object, path: Path) -> None:
    """Make a file of text, of bytes or, by torch, of anything else; and the directory it is in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
