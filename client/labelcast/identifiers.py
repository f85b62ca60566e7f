"""Names for label sets that people can remember, and that may move."""

import re

from labelcast.errors import InvalidRequestError

_TAG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}(:[a-z0-9][a-z0-9._-]{0,63})?")


def check_tag(tag: str) -> None:
    """Refuse a malformed tag.

    Raises:
        InvalidRequestError: says what a tag looks like.
    """
    if _TAG.fullmatch(tag) is None:
        raise InvalidRequestError(
            f"{tag[:80]!r} is no tag; use up to 64 of a-z 0-9 . _ - with one optional colon part,"
            " like glyphs:v1"
        )


def check_reference(reference: str) -> None:
    """Refuse a reference that cannot be sent; only the service knows whether it names anything.

    Raises:
        InvalidRequestError: it is no text, such as bytes of a file name that were not UTF-8.
    """
    try:
        reference.encode()
    except UnicodeEncodeError:
        raise InvalidRequestError(
            f"{reference[:80]!r} is no tag and no digest; it holds what is not Unicode text"
        ) from None
