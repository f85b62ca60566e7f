"""Progress through files that are scanned one after another."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

from labelcast.progress import Progress

Item = TypeVar("Item")


def counted(items: Sequence[Item], progress: Progress) -> Iterator[Item]:
    """The items, each counted once it has been dealt with.

    Args:
        items: files, mostly.
        progress: counts items.
    """
    progress(0, len(items))
    for done, item in enumerate(items, start=1):
        yield item
        progress(done, len(items))
