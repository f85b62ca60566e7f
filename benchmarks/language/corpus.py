"""What students read: documents split into two parts, then cut into sequences of tokens."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.language.duplicates import Duplicates, Left
from benchmarks.language.sources import SOURCES, Document, documents

Encode = Callable[[str], list[int]]
TokenIds = npt.NDArray[np.uint32]


@dataclass(frozen=True, kw_only=True)
class CorpusSize:
    """How much is read.

    Attributes:
        train: tokens to train on, at most.
        held_out: tokens to test on, at most.
        sequence: tokens of a sequence, at most.
        document: tokens of a document, at most: a long one must not crowd out the others.
    """

    train: int
    held_out: int
    sequence: int
    document: int


@dataclass(frozen=True)
class Sequences:
    """Token sequences of one part.

    Attributes:
        tokens: IDs of all sequences, one after another.
        lengths: tokens of each sequence, int64.
    """

    tokens: TokenIds
    lengths: npt.NDArray[np.int64]

    def __iter__(self) -> Iterator[TokenIds]:
        return iter(np.split(self.tokens, np.cumsum(self.lengths)[:-1]))

    def save(self, path: Path) -> None:
        """As an npz of both."""
        np.savez(path, tokens=self.tokens, lengths=self.lengths)

    @classmethod
    def load(cls, path: Path) -> "Sequences":
        """What `save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["tokens"], arrays["lengths"])

    @property
    def digest(self) -> str:
        """sha256 (hex) over both."""
        lengths = self.lengths.astype("<i8").tobytes()
        return hashlib.sha256(lengths + self.tokens.astype("<u4").tobytes()).hexdigest()


@dataclass(frozen=True)
class Corpus:
    """Both parts, and what there is to say of them."""

    train: Sequences
    held_out: Sequences
    facts: dict[str, Any]


def read_corpus(size: CorpusSize, cache: Path, encode: Encode) -> Corpus:
    """Read, compare, split and cut: the same every time on the same machine.

    Args:
        size: how much.
        cache: directory for Debian packages.
        encode: token IDs of a text.
    """
    drawer = _Drawer(size, cache, encode)
    # Held out first: both parts then have a document of every source in turn, and no document is
    # in both.
    held_out, train = drawer.part(size.held_out), drawer.part(size.train)
    facts = {
        "sources": {source: drawer.facts(source) for source in SOURCES},
        "train": _facts(train),
        "held_out": _facts(held_out),
    }
    return Corpus(_sequences(train, size), _sequences(held_out, size), facts)


@dataclass(frozen=True)
class _Taken:
    source: str
    ids: list[int]


class _Drawer:
    """Draws documents from the source that has given the fewest tokens to a part."""

    def __init__(self, size: CorpusSize, cache: Path, encode: Encode) -> None:
        self._size, self._encode = size, encode
        self._left = {source: Left() for source in SOURCES}
        self._duplicates = Duplicates()
        self._queues = {source: self._new(source, cache) for source in SOURCES}

    def part(self, tokens: int) -> list[_Taken]:
        """Documents of at most so many tokens together; the last is cut."""
        taken: list[_Taken] = []
        given = dict.fromkeys(self._queues, 0)
        left = tokens
        while left > 0 and self._queues:
            source = min(self._queues, key=lambda name: given[name])
            document = next(self._queues[source], None)
            if document is None:
                del self._queues[source]
                del given[source]
                continue
            ids = self._encode(document.text)[: min(left, self._size.document)]
            taken.append(_Taken(source, ids))
            given[source] += len(ids)
            left -= len(ids)
        return taken

    def facts(self, source: str) -> dict[str, int]:
        return asdict(self._left[source])

    def _new(self, source: str, cache: Path) -> Iterator[Document]:
        for document in documents(source, cache):
            new = self._duplicates.without(document, self._left[source])
            if new is not None:
                yield new


def _sequences(taken: list[_Taken], size: CorpusSize) -> Sequences:
    cut = [
        one.ids[at : at + size.sequence]
        for one in taken
        for at in range(0, len(one.ids), size.sequence)
    ]
    # A token on its own has nothing to predict.
    whole = [ids for ids in cut if len(ids) > 1]
    return Sequences(
        np.concatenate([np.array(ids, dtype=np.uint32) for ids in whole]),
        np.array([len(ids) for ids in whole], dtype=np.int64),
    )


def _facts(taken: list[_Taken]) -> dict[str, Any]:
    return {
        "documents": len(taken),
        "tokens": sum(len(one.ids) for one in taken),
        "by_source": {
            source: {
                "documents": sum(one.source == source for one in taken),
                "tokens": sum(len(one.ids) for one in taken if one.source == source),
            }
            for source in SOURCES
        },
    }
