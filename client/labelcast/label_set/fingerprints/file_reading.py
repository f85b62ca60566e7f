"""How files become samples: what two data sets of the same files may differ in."""

from dataclasses import dataclass
from typing import Any, Self

from labelcast.errors import ManifestError
from labelcast.label_set.canonical_json import from_canonical, to_canonical
from labelcast.label_set.fields import Fields

READING_PART = "file_reading"
MAX_READING_BYTES = 2**14
_READING_FORMAT = "labelcast/file-reading/1"


@dataclass(frozen=True, slots=True)
class FileReading:
    """How files become samples.

    Attributes:
        decoding: how a file's bytes become pixels, in words, such as "RGB, 224 × 224"; whatever
            gives other pixels has other words.
        sample_ids: how sample IDs follow from files, in words: "position", "name", or what a data
            set of one's own says.
    """

    decoding: str
    sample_ids: str

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_fields` reads back."""
        return {
            "format": _READING_FORMAT,
            "decoding": self.decoding,
            "sample_ids": self.sample_ids,
        }

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return to_canonical(self.as_json())

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """Read strictly."""
        if fields.text("format") != _READING_FORMAT:
            raise ManifestError(f"{fields.path} is of another format than {_READING_FORMAT}")
        read = cls(fields.text("decoding"), fields.text("sample_ids"))
        fields.done()
        return read

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read strictly.

        Raises:
            ManifestError: not canonical, or another format.
        """
        value = from_canonical(content, READING_PART, max_bytes=MAX_READING_BYTES)
        return cls.from_fields(Fields(value, READING_PART))
