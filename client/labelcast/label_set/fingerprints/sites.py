"""Fingerprints that sites hold themselves, each those of its own samples.

A label set with fingerprints gives all of them to whoever reads it. One for sites names the digest
of each site's instead: a site proves its own, and learns nothing of the others'.
"""

from dataclasses import dataclass
from typing import Self

from labelcast.errors import DigestMismatchError, ManifestError
from labelcast.identifiers import Digest, is_digest
from labelcast.label_set.canonical_json import from_canonical, to_canonical
from labelcast.label_set.digests import digest_of
from labelcast.label_set.fields import Fields
from labelcast.label_set.fingerprints.file_reading import FileReading
from labelcast.label_set.fingerprints.samples import FingerprintKind, SampleFingerprints

SITES_PART = "site_fingerprints"
MAX_SITES_BYTES = 2**22
_SITES_FORMAT = "labelcast/site-fingerprints/1"


@dataclass(frozen=True, slots=True)
class SiteFingerprints:
    """What a label set says of the fingerprints that its sites hold.

    Attributes:
        kind: what they are of.
        reading: how files become samples; None for fingerprints of pixels.
        digests: of each site's, in order.
    """

    kind: FingerprintKind
    reading: FileReading | None
    digests: tuple[Digest, ...]

    def of(self, content: bytes, what: str) -> SampleFingerprints:
        """The fingerprints of one site, proven.

        Args:
            content: what `SampleFingerprints.to_bytes` gave.
            what: names the content, for errors.

        Raises:
            DigestMismatchError: they are of no site of this label set.
        """
        if (found := digest_of(content)) not in self.digests:
            raise DigestMismatchError(
                f"{what} is damaged or of another label set: its digest {found} is none of the"
                f" {len(self.digests)} that this one names; fetch it again from who made the label"
                " set",
                actual=found,
            )
        return SampleFingerprints.from_bytes(content, self.kind, self.reading)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return to_canonical(
            {
                "format": _SITES_FORMAT,
                "kind": str(self.kind),
                "reading": None if self.reading is None else self.reading.as_json(),
                "digests": list(self.digests),
            }
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read strictly.

        Raises:
            ManifestError: not canonical, another format, or it contradicts itself.
        """
        value = from_canonical(content, SITES_PART, max_bytes=MAX_SITES_BYTES)
        fields = Fields(value, SITES_PART)
        if fields.text("format") != _SITES_FORMAT:
            raise ManifestError(f"{SITES_PART} is of another format than {_SITES_FORMAT}")
        kind, reading = fields.text("kind"), fields.take("reading")
        texts = fields.optional_texts("digests") or ()
        fields.done()
        if kind not in set(FingerprintKind):
            raise ManifestError(f"{SITES_PART}.kind {kind!r} is unknown")
        if (kind == FingerprintKind.FILES) != (reading is not None):
            raise ManifestError("fingerprints of files alone say how files are read")
        digests = tuple(text for text in texts if is_digest(text))
        if not digests or list(texts) != sorted(set(digests)):
            raise ManifestError(f"{SITES_PART}.digests must be at least one digest, in order")
        return cls(
            FingerprintKind(kind),
            None
            if reading is None
            else FileReading.from_fields(Fields(reading, f"{SITES_PART}.reading")),
            digests,
        )
