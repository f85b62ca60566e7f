"""Progress of something that takes a while."""

from typing import Protocol


class Progress(Protocol):
    """Called repeatedly while something runs.

    The first call reports what earlier runs have done, the last that all is done; `done` never
    falls. Each function that takes a `Progress` says what it counts: bytes, labels, views or steps.
    """

    def __call__(self, done: int, total: int, /) -> None:
        """Note progress.

        Args:
            done: amount done so far.
            total: amount in all.
        """


def unwatched(done: int, total: int, /) -> None:
    """Progress that nobody watches."""
