"""Fingerprints of samples: whether an image or text is the one that the teacher was shown.

Eight bytes a sample, a part of each segment in the order of its sample IDs. A data set that has
them is identified by the digest over them, so that whoever compares images one by one, as they are
first read, proves the data set without ever scanning it.
"""

from labelcast.label_set.fingerprints.file_reading import (
    MAX_READING_BYTES,
    READING_PART,
    FileReading,
)
from labelcast.label_set.fingerprints.hashing import (
    FINGERPRINT_BYTES,
    fingerprint,
    pixel_digest,
    pixel_fingerprint,
    token_fingerprint,
)
from labelcast.label_set.fingerprints.samples import (
    FingerprintKind,
    SampleFingerprints,
    join_fingerprints,
)
from labelcast.label_set.fingerprints.sites import MAX_SITES_BYTES, SITES_PART, SiteFingerprints

__all__ = [
    "FINGERPRINT_BYTES",
    "MAX_READING_BYTES",
    "MAX_SITES_BYTES",
    "READING_PART",
    "SITES_PART",
    "FileReading",
    "FingerprintKind",
    "SampleFingerprints",
    "SiteFingerprints",
    "fingerprint",
    "join_fingerprints",
    "pixel_digest",
    "pixel_fingerprint",
    "token_fingerprint",
]
