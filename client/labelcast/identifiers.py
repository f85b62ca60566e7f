"""Identifiers: digests that pin, tags that people remember and that may move, upload IDs, words.

Each is a type of its own, so that mypy finds one given for another. Text becomes one of them where
it is checked; what people type stays `str` until then.
"""

import re
from enum import StrEnum
from typing import NewType, TypeGuard, TypeVar

from labelcast.errors import InvalidRequestError

Digest = NewType("Digest", str)
"""``sha256:`` + 64 lower-case hex digits: names content, and so never moves."""

Tag = NewType("Tag", str)
"""A label set's name, like ``glyphs:v1``: points to one digest at a time."""

UploadId = NewType("UploadId", str)
"""An upload session that the service has begun."""

Word = TypeVar("Word", bound=StrEnum)

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(:[a-z0-9][a-z0-9._-]{0,63})?")
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def is_digest(text: str) -> TypeGuard[Digest]:
    """Whether `text` has the form of a digest."""
    return _DIGEST.fullmatch(text) is not None


def digest_from(text: str) -> Digest:
    """Read a digest.

    Raises:
        InvalidRequestError: says what a digest looks like.
    """
    if not is_digest(text):
        raise InvalidRequestError('digest must be "sha256:" and 64 lower-case hex digits')
    return text


def digest_from_hash(sha256: bytes) -> Digest:
    """The digest whose 32 bytes `sha256` are."""
    return Digest("sha256:" + sha256.hex())


def is_tag(text: str) -> TypeGuard[Tag]:
    """Whether `text` has the form of a tag."""
    return _TAG.fullmatch(text) is not None


def tag_from(text: str) -> Tag:
    """Read a tag.

    Raises:
        InvalidRequestError: says what a tag looks like.
    """
    if not is_tag(text):
        raise InvalidRequestError(
            f"{text[:80]!r} is no tag; use up to 64 of a-z 0-9 . _ - with one optional colon part,"
            " like glyphs:v1"
        )
    return text


def is_upload_id(text: str) -> TypeGuard[UploadId]:
    """Whether `text` may stand in a chunk key: no braces, no colons, not long."""
    return _UPLOAD_ID.fullmatch(text) is not None


def check_reference(reference: str) -> None:
    """Refuse a reference that cannot be sent; only the service knows whether it names anything.

    Raises:
        InvalidRequestError: it is no text, such as bytes of a file name that were not UTF-8.
    """
    if not isinstance(reference, str):
        raise InvalidRequestError(
            f"a label set is named by its tag or digest, a text, not by {reference!r:.80}"
        )
    try:
        reference.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"{reference[:80]!r} is no tag and no digest; it holds what is not Unicode text"
        ) from None


def one_of(words: type[Word], value: str, what: str) -> Word:
    """The word that an argument says; its text will do.

    Args:
        words: words that it may be.
        value: what was given.
        what: name of the argument.

    Raises:
        InvalidRequestError: it is none of them.
    """
    if value not in set(words):
        raise InvalidRequestError(f"{what} is one of {', '.join(words)}, not {value!r}")
    return words(value)
