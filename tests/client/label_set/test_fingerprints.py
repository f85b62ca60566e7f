"""Fingerprints of samples in a label set: what identifies the data set, and what is refused."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.errors import ContractMismatchError, ManifestError
from labelcast.label_set import BlobRef, Expectation, Manifest, digest_of
from labelcast.label_set.fingerprints import (
    READING_PART,
    FileReading,
    FingerprintKind,
    SampleFingerprints,
    fingerprint,
    join_fingerprints,
    pixel_fingerprint,
)
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from tests.factories.label_sets import make_label_set, with_fingerprints

FILES, PIXELS = FingerprintKind.FILES, FingerprintKind.PIXELS
RGB = FileReading("RGB", "position")


def column(*values: int) -> Any:
    return np.array(values, dtype=np.uint64)


def test_a_fingerprint_is_the_beginning_of_a_sha256() -> None:
    assert fingerprint(b"abc").to_bytes(8, "little").hex() == "ba7816bf8f01cfea"
    pixels = np.arange(6, dtype=np.float64).reshape(1, 2, 3)
    known = hashlib.sha256(b"(1, 2, 3)" + pixels.astype("<f4").tobytes()).digest()[:8]
    assert pixel_fingerprint(pixels).to_bytes(8, "little") == known
    assert pixel_fingerprint(pixels.transpose(0, 2, 1)) != pixel_fingerprint(pixels)


def test_the_identity_is_over_kind_decoding_ids_and_fingerprints() -> None:
    known = SampleFingerprints(FILES, column(3, 5), column(1, 2), RGB)
    written = hashlib.sha256(
        b'labelcast fingerprints\0{"decoding":"RGB","kind":"files"}\0'
        + bytes([3, *[0] * 7, 5, *[0] * 7, 1, *[0] * 7, 2, *[0] * 7])
    )
    assert known.digest() == "sha256:" + written.hexdigest()
    others = [
        SampleFingerprints(PIXELS, column(3, 5), column(1, 2)),
        SampleFingerprints(FILES, column(3, 5), column(1, 2), FileReading("L", "position")),
        SampleFingerprints(FILES, column(3, 6), column(1, 2), RGB),
        SampleFingerprints(FILES, column(3, 5), column(2, 1), RGB),
        known.only(column(3)),
    ]
    assert len({known.digest(), *(other.digest() for other in others)}) == 6


@pytest.mark.parametrize(("kind", "reading"), [(FILES, None), (PIXELS, RGB)])
def test_files_and_only_files_say_how_they_are_read(
    kind: FingerprintKind, reading: FileReading | None
) -> None:
    with pytest.raises(ManifestError, match="how files are read"):
        SampleFingerprints(kind, column(1), column(1), reading)


def test_segments_together_have_one_fingerprint_a_sample() -> None:
    joined = join_fingerprints(
        FILES, RGB, [(column(5, 9), column(1, 2)), (column(2, 9), column(3, 2))]
    )
    assert joined.sample_ids.tolist() == [2, 5, 9]
    assert joined.values.tolist() == [3, 1, 2]
    with pytest.raises(ManifestError, match="two fingerprints of sample ID 9"):
        join_fingerprints(PIXELS, None, [(column(5, 9), column(1, 2)), (column(9), column(3))])


@pytest.mark.parametrize("kind", FingerprintKind)
def test_a_label_set_gives_what_was_put_into_it(tmp_path: Path, kind: FingerprintKind) -> None:
    plain, _ = make_label_set(tmp_path)
    assert (plain.manifest.fingerprints, plain.fingerprints()) == (None, None)
    label_set = with_fingerprints(plain, kind)
    found = label_set.fingerprints()
    assert found is not None
    assert label_set.manifest.fingerprints is found.kind is kind
    assert found.sample_ids.tolist() == plain.index().segments[0].sample_ids.tolist()
    assert found.values.tolist() == [fingerprint(b"%d" % number) for number in range(50)]
    assert found.digest() == label_set.contract.dataset
    assert Manifest.from_bytes(label_set.manifest.to_bytes()) == label_set.manifest


def test_a_sample_costs_eight_bytes(tmp_path: Path) -> None:
    plain, _ = make_label_set(tmp_path / "a")
    (segment,) = with_fingerprints(plain, PIXELS).manifest.segments
    assert segment.sections()["parts.pixel_fingerprints"].payload_bytes == 8 * 50


def test_a_data_set_that_is_not_the_fingerprints_is_refused(tmp_path: Path) -> None:
    label_set = with_fingerprints(make_label_set(tmp_path)[0], FILES)
    contract = replace(label_set.contract, dataset=digest_of(b"another"))
    LabelSetDirectoryWriter(tmp_path).finish(replace(label_set.manifest, contract=contract))
    with pytest.raises(ManifestError, match="is not the digest of the fingerprints"):
        LabelSetDirectory(tmp_path).fingerprints()


def _segment_parts(change: Callable[[Any], Any]) -> Callable[[Manifest], Manifest]:
    def changed(manifest: Manifest) -> Manifest:
        (segment,) = manifest.segments
        return replace(manifest, segments=(replace(segment, parts=change(segment.parts)),))

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _segment_parts(lambda parts: ((parts[0][0], replace(parts[0][1], rows=49)),)),
            "do not add up|one row of 8 bytes",
        ),
        (
            lambda manifest: _segment_parts(
                lambda _: (("file_fingerprints", manifest.segments[0].seeds),)
            )(manifest),
            "one row of 8 bytes a sample",
        ),
        (
            _segment_parts(lambda parts: (*parts, ("pixel_fingerprints", parts[0][1]))),
            "all fingerprints are of one kind",
        ),
        (_segment_parts(lambda _: ()), "comes with fingerprints of files"),
        (lambda manifest: replace(manifest, parts=()), "comes with fingerprints of files"),
        (
            lambda manifest: replace(
                manifest, segments=(*manifest.segments, replace(manifest.segments[0], parts=()))
            ),
            r"segments\[1\]: all segments have fingerprints of one kind",
        ),
    ],
)
def test_fingerprints_that_contradict_the_manifest_are_refused(
    tmp_path: Path, change: Callable[[Manifest], Manifest], message: str
) -> None:
    manifest = with_fingerprints(make_label_set(tmp_path)[0], FILES).manifest
    with pytest.raises(ManifestError, match=message):
        Manifest.from_bytes(change(manifest).to_bytes())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"decoding":"RGB","format":"labelcast/file-reading/2","sample_ids":"name"}',
        b'{"decoding":"RGB","format":"labelcast/file-reading/1","sample_ids":"name","x":1}',
        b'{"decoding":"RGB", "format":"labelcast/file-reading/1","sample_ids":"name"}',
        b'{"decoding":1,"format":"labelcast/file-reading/1","sample_ids":"name"}',
    ],
)
def test_what_does_not_say_how_files_are_read_is_refused(content: bytes) -> None:
    with pytest.raises(ManifestError):
        FileReading.from_bytes(content)


def test_a_reading_of_any_size_is_not_read(tmp_path: Path) -> None:
    label_set = with_fingerprints(make_label_set(tmp_path)[0], FILES)
    large = ((READING_PART, BlobRef(digest_of(b"large"), 2**30)),)
    LabelSetDirectoryWriter(tmp_path).finish(replace(label_set.manifest, parts=large))
    with pytest.raises(ManifestError, match="more than 16384 bytes"):
        LabelSetDirectory(tmp_path).fingerprints()


def test_who_expects_the_identity_of_an_earlier_version_is_told_how(tmp_path: Path) -> None:
    plain, _ = make_label_set(tmp_path)
    plain.manifest.require(Expectation(dataset=plain.contract.dataset))
    other = Expectation(dataset=digest_of(b"new"))
    with pytest.raises(ContractMismatchError, match=r"SampleTable\(dataset\)\.pixels_digest\(\)"):
        plain.manifest.require(other)
    known = with_fingerprints(plain, PIXELS).manifest
    for expected in (other, Expectation(num_classes=3)):
        with pytest.raises(ContractMismatchError) as caught:
            known.require(expected)
        assert "pixels_digest" not in caught.value.message
