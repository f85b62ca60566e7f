"""Content digests: what pins every byte of a label set."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import DigestMismatchError, InvalidRequestError
from labelcast.identifiers import Digest, digest_from_hash


def digest_of(content: bytes | bytearray | memoryview) -> Digest:
    """Digest of one piece of content."""
    return digest_from_hash(hashlib.sha256(content).digest())


def check_digest(content: bytes | bytearray | memoryview, expected: str, what: str) -> Digest:
    """Refuse content that does not match its digest.

    Args:
        content: everything that the digest is of.
        expected: the digest; text that is none fails as any other mismatch.
        what: names the content, for the error.

    Returns:
        `expected`, which the content has proven to be its digest.

    Raises:
        DigestMismatchError: the digests differ.
    """
    return require_digest(digest_of(content), expected, what)


def require_digest(actual: Digest, expected: str, what: str) -> Digest:
    """Refuse content by its digest; as `check_digest`, for content that is read in pieces.

    Raises:
        DigestMismatchError: the digests differ.
    """
    if actual != expected:
        raise DigestMismatchError(
            f"{what} is damaged: its digest is {actual}, not {expected}; fetch or upload it again",
            expected=expected,
            actual=actual,
        )
    return actual


def class_list_digest(class_names: Sequence[str]) -> Digest:
    """Digest of an ordered class list: length-prefixed UTF-8 names, so no two lists collide.

    Raises:
        InvalidRequestError: a name is no text, or holds bytes of a file name that are not UTF-8.
    """
    hasher = hashlib.sha256(b"labelcast class list\0")
    for name in class_names:
        encoded = _utf8(name)
        hasher.update(len(encoded).to_bytes(4, "little") + encoded)
    return digest_from_hash(hasher.digest())


def _utf8(name: object) -> bytes:
    if not isinstance(name, str):
        raise InvalidRequestError(
            f"class names must be texts, got {name!r} of type {type(name).__name__}; give str(name)"
        )
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"the class name {name!r} is not UTF-8; rename that class, or the directory that it is"
            " read from"
        ) from None


def dataset_digest(sample_ids: NDArray[np.uint64], content_digests: Iterable[bytes]) -> Digest:
    """Digest over (sample ID, content) pairs, independent of their order.

    Args:
        sample_ids: uint64, shape (N,), unique.
        content_digests: N sha256 digests of 32 bytes, in the order of `sample_ids`.
    """
    pairs = sorted(zip(sample_ids.tolist(), content_digests, strict=True))
    hasher = hashlib.sha256(b"labelcast data set\0")
    for sample_id, content in pairs:
        hasher.update(sample_id.to_bytes(8, "little") + content)
    return digest_from_hash(hasher.digest())
