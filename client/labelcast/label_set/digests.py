"""Content digests: what pins every byte of a label set."""

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import DigestMismatchError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether `text` has the form ``sha256:`` + 64 lower-case hex digits."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(content: bytes | bytearray | memoryview) -> str:
    """Digest of one piece of content."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def check_digest(content: bytes | bytearray | memoryview, expected: str, what: str) -> None:
    """Refuse content that does not match its digest.

    Raises:
        DigestMismatchError: the digests differ.
    """
    actual = digest_of(content)
    if actual != expected:
        raise DigestMismatchError(
            f"{what} is damaged: its digest is {actual}, not {expected}; fetch or upload it again",
            expected=expected,
            actual=actual,
        )


def class_list_digest(class_names: Sequence[str]) -> str:
    """Digest of an ordered class list: length-prefixed UTF-8 names, so no two lists collide."""
    hasher = hashlib.sha256(b"labelcast class list\0")
    for name in class_names:
        encoded = name.encode()
        hasher.update(len(encoded).to_bytes(4, "little") + encoded)
    return "sha256:" + hasher.hexdigest()


def dataset_digest(sample_ids: NDArray[np.uint64], content_digests: Iterable[bytes]) -> str:
    """Digest over (sample ID, content) pairs, independent of their order.

    Args:
        sample_ids: uint64, shape (N,), unique.
        content_digests: N sha256 digests of 32 bytes, in the order of `sample_ids`.
    """
    pairs = sorted(zip(sample_ids.tolist(), content_digests, strict=True))
    hasher = hashlib.sha256(b"labelcast data set\0")
    for sample_id, content in pairs:
        hasher.update(sample_id.to_bytes(8, "little") + content)
    return "sha256:" + hasher.hexdigest()
