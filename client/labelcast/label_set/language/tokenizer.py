"""The identity of a tokenizer: which token each ID is."""

import hashlib
from collections.abc import Sequence

from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest, digest_from_hash


def tokenizer_digest(tokens: Sequence[str | None]) -> Digest:
    """Digest of a vocabulary: length-prefixed UTF-8 tokens in the order of their IDs.

    How text becomes tokens is no part of it: labels belong to token IDs, which fingerprints compare
    sequence by sequence.

    Args:
        tokens: token of each ID from 0 to the last, as `tokenizer.convert_ids_to_tokens` of
            `transformers` gives them; None or "" for an ID that has none, between
            others that do.

    Raises:
        InvalidRequestError: a token that is no text.
    """
    hasher = hashlib.sha256(b"labelcast tokenizer\0")
    for number, token in enumerate(tokens):
        if token is not None and not isinstance(token, str):
            raise InvalidRequestError(
                f"the token of ID {number} is {token!r}, no text; give tokens as str, and None for"
                " an ID that has none"
            )
        # Pieces of characters are lone surrogates in some tokenizers.
        encoded = (token or "").encode("utf-8", "surrogatepass")
        hasher.update(len(encoded).to_bytes(4, "little") + encoded)
    return digest_from_hash(hasher.digest())
