"""Text or token files → sequences."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from labelcast.errors import InvalidRequestError
from labelcast_producers.relabel.language.text.documents import (
    DocumentPer,
    documents,
    text_files,
)
from labelcast_producers.relabel.language.text.sequences import (
    Tokens,
    TokenSequences,
    gather_sequences,
)
from labelcast_producers.relabel.language.text.tokenizer import Tokenizer

TOKEN_FILES = (".npy", ".npz", ".parquet")


def read_sequences(
    paths: Sequence[Path],
    tokenizer: Tokenizer,
    max_length: int,
    *,
    per: DocumentPer = DocumentPer.FILE,
    pattern: str = "*.txt",
) -> TokenSequences:
    """Read a data set; its sequences are numbered from 0 on, which are their sample IDs.

    Documents come in the order of `paths`, those of a directory sorted by path, those of a file as
    they stand in it. Each is cut into pieces of `max_length` tokens, of which the last may be
    shorter; every piece is a sequence. Files without text are left out, and named in what is
    returned.

    Args:
        paths: files and directories of UTF-8 text, or one .npy, .npz or .parquet file of tokens.
        tokenizer: makes tokens of text.
        max_length: most tokens of a sequence.
        per: what one document is.
        pattern: which files of a directory are taken.

    Raises:
        LabelFileError: unusable files, see `documents` and `token_sequences`.
        InvalidRequestError: token files beside other files.
    """
    without_text = list[Path]()

    def pieces() -> Iterator[Tokens]:
        for file in text_files(paths, pattern):
            found = documents(file, per)
            if not found:
                without_text.append(file)
            for document in found:
                yield from tokenizer.cut(document, max_length)

    of_tokens = [path for path in paths if path.suffix in TOKEN_FILES]
    if of_tokens and len(paths) > 1:
        raise InvalidRequestError(
            f"{of_tokens[0]} is a data set of its own; give it alone, and other --text to another"
            " run"
        )
    if of_tokens:
        from labelcast_producers.relabel.language.text.token_files import token_sequences

        given, source = token_sequences(paths[0], max_length), f"tokens of {paths[0].suffix}"
    else:
        given, source = pieces(), f"text, a document per {per}, at most {max_length} tokens"
    found = gather_sequences(given, source, vocabulary=len(tokenizer), tokenizer=tokenizer.name)
    return replace(found, without_text=tuple(without_text))
