"""Optional parts of a manifest, and the features that its reader must know.

Everything that a later version adds to a label set is one of these, so that this version knows what
to do with it: keep a part that it does not know, refuse a feature that it does not know. Manifests
that use neither are spelled as if there were neither, and keep their digests.
"""

import re
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from labelcast.errors import ManifestError
from labelcast.label_set.fields import Fields

KNOWN_FEATURES: frozenset[str] = frozenset({"language", "ragged"})
"""What a manifest may require of this version."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_PARTS = 256

T = TypeVar("T")
Parts: TypeAlias = tuple[tuple[str, T], ...]
"""Parts by name, in the order of their names."""


def parts_from(fields: Fields, read: Callable[[Fields], T]) -> Parts[T]:
    """The optional parts of a manifest or segment; () if it has none.

    Raises:
        ManifestError: the list is empty or too long, or a name is malformed.
    """
    listed = fields.optional_object("parts")
    if listed is None:
        return ()
    names = listed.names()
    if not 0 < len(names) <= _MAX_PARTS:
        raise ManifestError(f"{listed.path} must have 1 to {_MAX_PARTS} parts, or be left out")
    return tuple((_name(name, listed.path), read(listed.object(name))) for name in sorted(names))


def parts_as_json(parts: Parts[T], write: Callable[[T], Any]) -> dict[str, Any]:
    """JSON fields that `parts_from` reads back: none if there are no parts."""
    return {"parts": {name: write(part) for name, part in parts}} if parts else {}


def required_features(fields: Fields) -> tuple[str, ...]:
    """The features that a reader must know, in order; () if there are none.

    Raises:
        ManifestError: this version does not know one.
    """
    names = fields.optional_texts("requires")
    if names is None:
        return ()
    if not names or list(names) != sorted({_name(name, fields.path) for name in names}):
        raise ManifestError(f"{fields.path}.requires must be names in order, or be left out")
    unknown = sorted(set(names) - KNOWN_FEATURES)
    if unknown:
        raise ManifestError(
            f"the label set requires {', '.join(unknown)}, which this labelcast does not know;"
            " install a newer one",
            features=",".join(unknown),
        )
    return names


def _name(name: str, path: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ManifestError(f"{path} names {name[:80]!r}; use up to 64 of a-z 0-9 _")
    return name
