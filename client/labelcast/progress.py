"""How far along something is that takes a while."""

from typing import Protocol


class Progress(Protocol):
    """Called again and again while something runs.

    The first call says what earlier runs have done already, the last that all is done; what is done
    never falls. Bytes, labels, views or steps are counted: whoever takes a `Progress` says which.
    """

    def __call__(self, done: int, total: int, /) -> None:
        """Take note.

        Args:
            done: so far.
            total: in all.
        """


def unwatched(done: int, total: int, /) -> None:
    """Progress that nobody wants to see."""
