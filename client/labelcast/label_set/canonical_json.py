"""Strict JSON with one spelling for each value, so that a digest identifies it."""

import json
from typing import Any, NoReturn

from labelcast.errors import ManifestError


def to_canonical(value: Any) -> bytes:
    """The one spelling: sorted keys, no spaces, ASCII, shortest floats, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def from_canonical(content: bytes, what: str, *, max_bytes: int) -> Any:
    """Parse canonical JSON and nothing else.

    Args:
        content: bytes to parse.
        what: name of the document, for errors.
        max_bytes: limit, checked before parsing.

    Raises:
        ManifestError: it is too large, not JSON, has duplicate keys, or is spelled differently.
    """
    if len(content) > max_bytes:
        raise ManifestError(f"{what} has {len(content)} bytes, at most {max_bytes} are read")
    try:
        value = json.loads(content, object_pairs_hook=_unique_keys, parse_constant=_no_constant)
        canonical = to_canonical(value) == content
        if b"\\ud" in content:
            # Half a surrogate pair is JSON, but no text that could be shown or sent on.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ManifestError(f"{what} is not JSON: truncated or damaged") from None
    if not canonical:
        raise ManifestError(
            f"{what} is not canonical JSON (sorted keys, no spaces, ASCII, no repeated keys)"
        )
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
