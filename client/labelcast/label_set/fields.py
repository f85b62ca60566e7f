"""Takes typed fields out of parsed JSON, with errors that name the field."""

from collections.abc import Mapping
from typing import Any

from labelcast.errors import ManifestError
from labelcast.identifiers import Digest, is_digest


class Fields:
    """A JSON object whose fields are taken one by one; fields left over are an error.

    Args:
        value: parsed value.
        path: place of the object, for errors, like "segments[0].codes".
    """

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, Mapping):
            raise ManifestError(f"{path} must be an object")
        self._left = dict(value)
        self.path = path

    def take(self, name: str) -> Any:
        """Any value."""
        if name not in self._left:
            raise ManifestError(f"{self.path}.{name} is missing")
        return self._left.pop(name)

    def text(self, name: str) -> str:
        """A string of at most 1,024 characters, all fit for a terminal or a page."""
        value = self.take(name)
        if not isinstance(value, str) or len(value) > 1024 or not value.isprintable():
            raise ManifestError(f"{self.path}.{name} must be a short string without controls")
        return value

    def optional_text(self, name: str) -> str | None:
        """Like `text`, or None if the field is absent."""
        return self.text(name) if name in self._left else None

    def optional_object(self, name: str) -> "Fields | None":
        """Like `object`, or None if the field is absent."""
        return self.object(name) if name in self._left else None

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer within bounds, both included."""
        value = self.take(name)
        if type(value) is not int or not low <= value <= high:
            raise ManifestError(f"{self.path}.{name} must be an integer from {low} to {high}")
        return value

    def number(self, name: str) -> float:
        """A float."""
        value = self.take(name)
        if type(value) is not float:
            raise ManifestError(f"{self.path}.{name} must be a number with a decimal point")
        return value

    def digest(self, name: str) -> Digest:
        """A sha256 digest."""
        value = self.text(name)
        if not is_digest(value):
            raise ManifestError(f'{self.path}.{name} must be "sha256:" and 64 hex digits')
        return value

    def object(self, name: str) -> "Fields":
        """A nested object."""
        return Fields(self.take(name), f"{self.path}.{name}")

    def objects(self, name: str) -> "list[Fields]":
        """A list of objects."""
        value = self.take(name)
        if not isinstance(value, list):
            raise ManifestError(f"{self.path}.{name} must be a list")
        return [Fields(entry, f"{self.path}.{name}[{at}]") for at, entry in enumerate(value)]

    def optional_objects(self, name: str) -> "list[Fields]":
        """Like `objects`, or none if the field is absent."""
        return self.objects(name) if name in self._left else []

    def optional_texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings, each like `text`, or None if the field is absent."""
        if name not in self._left:
            return None
        value = self.take(name)
        if not isinstance(value, list):
            raise ManifestError(f"{self.path}.{name} must be a list")
        entries = Fields({str(at): text for at, text in enumerate(value)}, f"{self.path}.{name}")
        return tuple(entries.text(str(at)) for at in range(len(value)))

    def names(self) -> list[str]:
        """Names of the fields that were not taken yet."""
        return list(self._left)

    def done(self) -> None:
        """Refuse fields that were not taken: an ignored field could change what the labels mean."""
        if self._left:
            raise ManifestError(f"{self.path} has unknown fields {sorted(self._left)}")
