"""Fingerprints of all samples of a data set, and the identity that they give it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelcast.errors import ManifestError
from labelcast.identifiers import Digest
from labelcast.label_set.canonical_json import to_canonical
from labelcast.label_set.digests import digest_of
from labelcast.label_set.fingerprints.file_reading import FileReading


class FingerprintKind(StrEnum):
    """What fingerprints are of."""

    FILES = "files"  # the bytes of each image's file
    PIXELS = "pixels"  # shape and float32 values of each image
    TOKENS = "tokens"  # the token IDs of each sequence

    @property
    def part(self) -> str:
        """Name of the part of a segment that holds them."""
        return f"{self.value.removesuffix('s')}_fingerprints"


@dataclass(frozen=True, eq=False, slots=True)
class SampleFingerprints:
    """Fingerprints of the samples of a data set.

    Attributes:
        kind: what they are of.
        sample_ids: uint64, shape (S,), strictly increasing.
        values: uint64, shape (S,), in that order; from `fingerprint`.
        reading: how files become samples; None for fingerprints of pixels or tokens.

    Raises:
        ManifestError: not one value for each sample, or files of which nobody says how they are
            read.
    """

    kind: FingerprintKind
    sample_ids: NDArray[np.uint64]
    values: NDArray[np.uint64]
    reading: FileReading | None = None

    def __post_init__(self) -> None:
        if len(self.sample_ids) != len(self.values):
            raise ManifestError(
                f"{len(self.values)} fingerprints are not one for each of"
                f" {len(self.sample_ids)} samples"
            )
        if (self.kind is FingerprintKind.FILES) != (self.reading is not None):
            raise ManifestError("fingerprints of files alone say how files are read")

    def digest(self) -> Digest:
        """Identity of the data set: over kind, decoding, sample IDs and fingerprints."""
        return digest_of(self.to_bytes())

    def to_bytes(self) -> bytes:
        """What the digest is of."""
        columns = [column.astype("<u8").tobytes() for column in (self.sample_ids, self.values)]
        return self.heading(self.kind, self.reading) + b"".join(columns)

    @classmethod
    def from_bytes(cls, content: bytes, kind: FingerprintKind, reading: FileReading | None) -> Self:
        """Read what `to_bytes` gave.

        Args:
            content: proven by its digest.
            kind: of the label set.
            reading: of the label set.

        Raises:
            ManifestError: of another kind or decoding, or no such content.
        """
        heading = cls.heading(kind, reading)
        columns = content.removeprefix(heading)
        if len(columns) == len(content) or len(columns) % 16:
            raise ManifestError("these are no fingerprints of the label set's kind and decoding")
        ids, values = np.frombuffer(columns, "<u8").astype(np.uint64).reshape(2, -1)
        if not len(ids) or (ids[1:] <= ids[:-1]).any():
            raise ManifestError("sample IDs of fingerprints must strictly increase")
        return cls(kind, ids, values, reading)

    @staticmethod
    def heading(kind: FingerprintKind, reading: FileReading | None) -> bytes:
        """What comes before sample IDs and values."""
        decoding = None if reading is None else reading.decoding
        words = to_canonical({"kind": str(kind), "decoding": decoding})
        return b"labelcast fingerprints\0" + words + b"\0"

    def known(self, sample_ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which samples are among these: bool, the shape of `sample_ids`."""
        return np.isin(sample_ids, self.sample_ids)

    def of(self, sample_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Values of samples, which must be known: uint64, the shape of `sample_ids`."""
        found: NDArray[np.uint64] = self.values[np.searchsorted(self.sample_ids, sample_ids)]
        return found

    def only(self, sample_ids: NDArray[np.uint64]) -> Self:
        """Those of some samples, which must be known and strictly increase."""
        return type(self)(self.kind, sample_ids, self.of(sample_ids), self.reading)


def join_fingerprints(
    kind: FingerprintKind,
    reading: FileReading | None,
    tables: Iterable[tuple[NDArray[np.uint64], NDArray[np.uint64]]],
) -> SampleFingerprints:
    """Those of several segments together.

    Args:
        kind: of all.
        reading: of all.
        tables: sample IDs and values of each segment.

    Raises:
        ManifestError: two fingerprints for one sample.
    """
    parts = list(tables)
    ids = np.concatenate([part[0] for part in parts])
    values = np.concatenate([part[1] for part in parts])
    unique, first = np.unique(ids, return_index=True)
    joined = SampleFingerprints(kind, unique, values[first], reading)
    differs = joined.of(ids) != values
    if differs.any():
        raise ManifestError(
            f"segments hold two fingerprints of sample ID {ids[np.argmax(differs)]}: they were"
            " made from other images"
        )
    return joined
