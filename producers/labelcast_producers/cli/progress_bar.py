"""A bar on standard error that shows progress."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressBar:
    """A bar that is a `Progress`, and appears with the first; made by `progress_bar`.

    Args:
        make: makes a bar that ends at `total` and begins at `initial`.
    """

    def __init__(self, make: "Callable[..., tqdm[Any]]") -> None:
        self._make = make
        self._bar: tqdm[Any] | None = None

    def __call__(self, done: int, total: int, /) -> None:
        """Show progress."""
        if self._bar is None:
            # Work of earlier runs says nothing about the speed of this one.
            self._bar = self._make(total=total, initial=done)
        self._bar.update(done - self._bar.n)

    def show_fit(self, line: Mapping[str, float]) -> None:
        """Show a line of a fit's log beside the bar: how well labels are kept."""
        if self._bar is not None:
            self._bar.set_postfix(kl=f"{line['kl']:.3f}", perplexity=f"{line['perplexity']:.0f}")

    def write(self, text: str) -> None:
        """Write a line above the bar."""
        if self._bar is None:
            typer.echo(text, err=True)
        else:
            self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress_bar(what: str, unit: str, *, quiet: bool) -> Iterator[ProgressBar]:
    """Show a bar while the block runs, once there is progress.

    Args:
        what: name of the work.
        unit: name of the unit that is counted.
        quiet: show no bar.
    """
    # Imported only by commands that show a bar, so that others answer at once.
    from tqdm import tqdm

    bar = ProgressBar(partial(tqdm, desc=what, unit=unit, disable=quiet))
    try:
        yield bar
    finally:
        bar.close()
