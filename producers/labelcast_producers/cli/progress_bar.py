"""A bar on standard error that shows progress."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


class ProgressBar:
    """A bar that is a `Progress`; made by `progress_bar`."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        self._bar = bar

    def __call__(self, done: int, total: int, /) -> None:
        """Show progress."""
        bar = self._bar
        if bar.total is None:
            # Work of earlier runs says nothing about the speed of this one.
            bar.reset(total)
            bar.initial = bar.n = bar.last_print_n = done
        bar.update(done - bar.n)

    def show_fit(self, line: Mapping[str, float]) -> None:
        """Show a line of a fit's log beside the bar: how well labels are kept."""
        self._bar.set_postfix(kl=f"{line['kl']:.3f}", perplexity=f"{line['perplexity']:.0f}")

    def write(self, text: str) -> None:
        """Write a line above the bar."""
        self._bar.write(text, file=sys.stderr)


@contextmanager
def progress_bar(what: str, unit: str, *, quiet: bool) -> Iterator[ProgressBar]:
    """Show a bar while the block runs.

    Args:
        what: name of the work.
        unit: name of the unit that is counted.
        quiet: show no bar.
    """
    # Imported only by commands that show a bar, so that others answer at once.
    from tqdm import tqdm

    with tqdm(desc=what, unit=unit, disable=quiet) as bar:
        yield ProgressBar(bar)
