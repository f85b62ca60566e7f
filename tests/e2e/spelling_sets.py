"""Two label sets of the same views whose wide rows spell whose they are."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelcast import Representation, Views
from labelcast.codec import CodecHeader, LabelKind, Precision, RawCodec
from labelcast.identifiers import Digest
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.representation import Form
from tests.factories.label_sets import write_label_set

CLASSES = 1024
REQUEST_ROWS = 128
"""Of a stream of these sets: rows of 2048 bytes that fill a message."""
_SAMPLES, _SEEDS = 300, 3


@dataclass(frozen=True, eq=False)
class SpellingSet:
    """A `raw` label set; each value of a row is the number of the set, sample or seed."""

    on_disk: LabelSetDirectory
    number: int
    views: Views

    @property
    def digest(self) -> Digest:
        return self.on_disk.digest

    def expected(self, at: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> bytes:
        """Rows of views number `at`: as codes, and alike as fp16 logits."""
        seeds, samples = np.divmod(at, _SAMPLES)
        return _rows(self.number, samples, seeds).tobytes()


def spelling_set(
    directory: Path, number: int, *, first_and_step: tuple[int, int] = (10**12, 7)
) -> SpellingSet:
    codec = RawCodec(CodecHeader(CLASSES, LabelKind.LOGITS, None), Precision.FP16)
    seeds, samples = np.divmod(np.arange(_SAMPLES * _SEEDS), _SAMPLES)
    rows = _rows(number, samples, seeds)
    on_disk = write_label_set(
        directory,
        codec,
        rows,
        num_samples=_SAMPLES,
        num_seeds=_SEEDS,
        first_and_step=first_and_step,
    )
    return SpellingSet(on_disk, number, on_disk.index().segments[0].views())


def other_form(representation: Representation) -> Representation:
    """One whose rows have the same stride, and here even the same bytes."""
    codes = representation.form is Form.CODES
    return Representation.logits() if codes else Representation.codes()


def _rows(
    number: int,
    samples: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    seeds: "np.ndarray[tuple[int], np.dtype[np.int64]]",
) -> "np.ndarray[tuple[int, int], np.dtype[np.uint8]]":
    names = np.stack([np.full(len(seeds), number), samples, seeds], axis=1)
    wide = np.tile(names, (1, CLASSES // 3 + 1))[:, :CLASSES]
    return wide.astype("<f2").view(np.uint8).reshape(len(names), -1)
