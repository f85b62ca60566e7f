"""Files that were copied over others: what was drawn at random for one is there twice.

Rules:
  * what is compared are draws that differ within a file, such as its crops: a producer that crops
    every image alike writes the same ones everywhere;
  * where most files share theirs with another, the producer drew from one seed again and again,
    and nothing follows from it;
  * only labels that are the same too, of other samples, are a copy for certain. Reading them is
    the caller's business, who has few to read.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelFileError

# More are no accident with a few files.
_MOST_PAIRS = 64
_FEW_ROWS = 16


def pairs_of_same_draws(draws: Sequence[bytes | None]) -> Iterator[tuple[int, int]]:
    """Positions of what may be a file and its copy.

    Args:
        draws: digest of what was drawn for each file; None where that tells nothing.

    Yields:
        The first and a later position of equal digests; nothing where that is the rule.
    """
    first: dict[bytes, int] = {}
    found: list[tuple[int, int]] = []
    for at, digest in enumerate(draws):
        if digest is not None and (original := first.setdefault(digest, at)) != at:
            found.append((original, at))
    shared = len(found) + len({original for original, _ in found})
    if 2 * shared <= len(draws):
        yield from islice(found, _MOST_PAIRS)


def copied(one: Path, other: Path, *, at: tuple[str, str] = ("", "")) -> LabelFileError:
    """The error of two files of which one was copied over the other.

    Args:
        one: one of them.
        other: the other.
        at: text after their paths.
    """
    return LabelFileError(
        f"{other}{at[1]} holds the very draws and labels of {one}{at[0]}, though of other samples:"
        " one was copied over the other; fetch both again",
        path=other,
    )


def differ_within(rows: NDArray[np.generic]) -> bool:
    """Whether rows were drawn: at least half of the first few are like none before them.

    Args:
        rows: shape (n, k).
    """
    few = rows[:_FEW_ROWS]
    return len(few) > 1 and 2 * len({row.tobytes() for row in few}) > len(few)
