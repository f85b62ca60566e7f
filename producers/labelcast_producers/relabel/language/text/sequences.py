"""Token sequences that are labelled: one sample each, one label for each of their tokens."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import LabelFileError

Tokens = NDArray[np.uint32]

MAX_TOKENS = 2**20
"""Tokens of the longest sequence."""


@dataclass(frozen=True, eq=False, slots=True)
class TokenSequences:
    """Sequences of tokens; the sample ID of each is its number.

    Attributes:
        tokens: uint32, shape (T,): all tokens, sequence after sequence.
        lengths: uint32, shape (S,): tokens of each sequence, at least 1.
        source: how sequences and their numbers follow from the data set, in words.
        without_text: files that were left out, since they hold no text.
    """

    tokens: Tokens
    lengths: NDArray[np.uint32]
    source: str
    without_text: tuple[Path, ...] = ()
    _firsts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        firsts = np.append(0, np.cumsum(self.lengths, dtype=np.int64))
        object.__setattr__(self, "_firsts", firsts)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def sample_ids(self) -> NDArray[np.uint64]:
        """Sample IDs: uint64, shape (S,), increasing."""
        return np.arange(len(self), dtype=np.uint64)

    @property
    def num_tokens(self) -> int:
        """Tokens of all sequences, T."""
        return int(self._firsts[-1])

    @property
    def firsts(self) -> NDArray[np.int64]:
        """Row of the first token of each sequence, and T: int64, shape (S + 1,)."""
        return self._firsts

    def __getitem__(self, number: int) -> Tokens:
        """Tokens of one sequence."""
        return self.tokens[self._firsts[number] : self._firsts[number + 1]]

    def __iter__(self) -> Iterator[Tokens]:
        return (self[number] for number in range(len(self)))


def gather_sequences(
    pieces: Iterable[Tokens], source: str, *, vocabulary: int, tokenizer: str
) -> TokenSequences:
    """Keep sequences in a file that has no name, which goes with this process.

    Tokens are text: where a set is not to store them, nothing that a killed run leaves may either.

    Args:
        pieces: uint32, shape (n,) each.
        source: how they were made, in words.
        vocabulary: tokens of the tokenizer, V.
        tokenizer: name of the tokenizer, for messages.

    Raises:
        LabelFileError: there are no sequences, one is empty or too long, or holds a token that the
            tokenizer lacks.
    """
    lengths = list[int]()
    with TemporaryFile() as file:
        for number, piece in enumerate(pieces):
            _check(piece, number, vocabulary, tokenizer)
            lengths.append(len(piece))
            file.write(piece.astype("<u4", copy=False).tobytes())
        if not lengths:
            raise LabelFileError("the data set holds no sequence; give one with some text")
        if max(lengths) < 2:
            raise LabelFileError(
                "no sequence has two tokens, so that no label has a next token to be checked with;"
                " give longer texts"
            )
        file.flush()
        tokens = np.memmap(file, dtype="<u4", mode="r")
    return TokenSequences(tokens, np.array(lengths, dtype=np.uint32), source)


def _check(piece: Tokens, number: int, vocabulary: int, tokenizer: str) -> None:
    if not len(piece):
        raise LabelFileError(f"sequence {number} is empty; leave it out")
    if len(piece) > MAX_TOKENS:
        raise LabelFileError(f"sequence {number} has more than {MAX_TOKENS} tokens; cut it")
    if (largest := int(piece.max())) >= vocabulary:
        raise LabelFileError(
            f"sequence {number} has the token {largest}, and {tokenizer} ends at {vocabulary - 1};"
            " give the tokenizer that made these tokens with --tokenizer"
        )
