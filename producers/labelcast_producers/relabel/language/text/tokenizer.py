"""The tokenizer of a model: which text each token stands for, and tokens of text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelcast.errors import InvalidRequestError
from labelcast_producers.relabel.language.text.sequences import Tokens


@dataclass(frozen=True, eq=False, slots=True)
class Tokenizer:
    """A tokenizer.

    Attributes:
        name: name to show.
        tokens: text of every token in the order of their IDs, V in all; "" for an ID without one.
        encode: token IDs of a text, with what the tokenizer puts at its ends by itself.
    """

    name: str
    tokens: tuple[str, ...]
    encode: Callable[[str], list[int]]

    def __len__(self) -> int:
        return len(self.tokens)

    def cut(self, text: str, max_length: int) -> Iterator[Tokens]:
        """Tokens of a document: uint32, in pieces of at most `max_length`."""
        ids = np.array(self.encode(text), dtype=np.uint32)
        for first in range(0, len(ids), max_length):
            yield ids[first : first + max_length]


def load_tokenizer(path: Path) -> Tokenizer:
    """Read the tokenizer of a `transformers` directory or a GGUF file; nothing is downloaded.

    Raises:
        InvalidRequestError: there is none, or it cannot be read.
    """
    if not path.exists():
        raise InvalidRequestError(
            f"{path} is not there; give --tokenizer a directory with tokenizer.json, or a GGUF file"
        )
    from labelcast_producers.relabel.language.quiet_transformers import quiet_transformers

    with quiet_transformers(path) as transformers:
        of_file: dict[str, Any] = {"gguf_file": path.name} if path.is_file() else {}
        directory = path.parent if path.is_file() else path
        found = transformers.AutoTokenizer.from_pretrained(
            directory, local_files_only=True, trust_remote_code=False, **of_file
        )
        known = _tokens_in_gguf(path) if of_file else None
    by_id = {number: token for token, number in found.get_vocab().items()}
    if not by_id:
        raise InvalidRequestError(f"the tokenizer in {path} is empty")
    tokens = tuple(by_id.get(number, "") for number in range(known or max(by_id) + 1))
    return Tokenizer(path.name, tokens, lambda text: list(found(text).input_ids))


def refuse_other_tokens(tokenizer: Tokenizer, model: Path) -> None:
    """Refuse a tokenizer that is not the one beside a model, if there is one.

    As many tokens under other IDs would give labels of a text that nobody wrote.

    Raises:
        InvalidRequestError: it has other tokens.
    """
    if not model.exists():
        return
    try:
        own = load_tokenizer(model)
    except InvalidRequestError:
        return
    if own.tokens != tokenizer.tokens:
        raise InvalidRequestError(
            f"the tokenizer {tokenizer.name} has other tokens than the one beside the model"
            f" {model.name}; leave --tokenizer out, or move away the one that is not the model's"
        )


def _tokens_in_gguf(path: Path) -> int:
    """Tokens that the file has: the library adds special ones, which its model lacks."""
    from gguf import GGUFReader

    return len(GGUFReader(path).fields["tokenizer.ggml.tokens"].data)
