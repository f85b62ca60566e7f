"""What a label set says of fingerprints that its sites hold, and the files that they hold."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.errors import DigestMismatchError, ManifestError
from labelcast.label_set import BlobRef, Manifest, digest_of, to_canonical
from labelcast.label_set.fingerprints import (
    MAX_SITES_BYTES,
    SITES_PART,
    FileReading,
    FingerprintKind,
    SampleFingerprints,
    SiteFingerprints,
)
from labelcast.label_set_directory import LabelSetDirectory
from tests.factories.label_sets import make_label_set, with_fingerprints

FILES, PIXELS = FingerprintKind.FILES, FingerprintKind.PIXELS
RGB = FileReading("RGB", "name")


def site(*ids: int, reading: FileReading | None = RGB) -> SampleFingerprints:
    kind = PIXELS if reading is None else FILES
    values = np.array(ids, dtype=np.uint64) + 2**63
    return SampleFingerprints(kind, np.array(ids, dtype=np.uint64), values, reading)


@pytest.mark.parametrize("reading", [RGB, None])
def test_a_file_is_read_back_and_its_digest_is_the_identity(reading: FileReading | None) -> None:
    own = site(3, 5, reading=reading)
    assert digest_of(own.to_bytes()) == own.digest()
    sites = SiteFingerprints(own.kind, reading, (own.digest(),))
    again = SiteFingerprints.from_bytes(sites.to_bytes())
    assert again == sites
    read = again.of(own.to_bytes(), "the file")
    assert (read.kind, read.reading) == (own.kind, reading)
    np.testing.assert_array_equal(read.sample_ids, own.sample_ids)
    np.testing.assert_array_equal(read.values, own.values)
    with pytest.raises(DigestMismatchError, match="fetch it again from who made the label set"):
        sites.of(site(3, 6, reading=reading).to_bytes(), "the file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        site(1).to_bytes()[:-1],
        site(1).to_bytes()[:-16],
        site(1, reading=None).to_bytes(),
        site(5, 3).to_bytes(),
    ],
)
def test_other_content_is_no_file_of_a_site(content: bytes) -> None:
    sites = SiteFingerprints(FILES, RGB, (digest_of(content),))
    with pytest.raises(ManifestError, match="fingerprints"):
        sites.of(content, "the file")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "another format"),
        ({"kind": "sounds"}, "'sounds' is unknown"),
        ({"kind": "pixels"}, "files alone say how"),
        ({"reading": None}, "files alone say how"),
        ({"digests": []}, "at least one digest, in order"),
        ({"digests": [digest_of(b"a")] * 2}, "at least one digest, in order"),
        ({"digests": ["sha256:1"]}, "at least one digest, in order"),
        ({"more": 1}, "more"),
    ],
)
def test_what_is_said_of_sites_is_read_strictly(changes: dict[str, Any], message: str) -> None:
    value = {
        "format": "labelcast/site-fingerprints/1",
        "kind": "files",
        "reading": RGB.as_json(),
        "digests": [digest_of(b"a")],
    }
    assert SiteFingerprints.from_bytes(to_canonical(value)).kind is FILES
    with pytest.raises(ManifestError, match=message):
        SiteFingerprints.from_bytes(to_canonical(value | changes))


def test_sites_fingerprints_are_in_place_of_the_label_sets(tmp_path: Path) -> None:
    manifest = with_fingerprints(make_label_set(tmp_path)[0], FILES).manifest
    both = {**dict(manifest.parts), SITES_PART: BlobRef(digest_of(b"a"), 1)}
    told = replace(manifest, parts=tuple(sorted(both.items())))
    with pytest.raises(ManifestError, match="in place of fingerprints, not beside them"):
        Manifest.from_bytes(told.to_bytes())


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    label_set, _ = make_label_set(tmp_path)
    large = ((SITES_PART, BlobRef(digest_of(b"a"), MAX_SITES_BYTES + 1)),)
    told = replace(label_set.manifest, parts=large)
    (label_set.directory / "manifest.json").write_bytes(told.to_bytes())
    with pytest.raises(ManifestError, match=f"more than {MAX_SITES_BYTES} bytes"):
        LabelSetDirectory(label_set.directory).fingerprints_from(tmp_path / "file")
