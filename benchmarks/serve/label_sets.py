"""Label sets of any size: generated codes over a codec that was really fitted."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.generated_label_set import write_generated
from labelcast.codec import (
    Codec,
    CodecHeader,
    LabelKind,
    Precision,
    RawCodec,
    Rows,
    TemperatureRange,
    VqaeCodec,
    VqaeShape,
)
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.dense.files import open_label_file
from labelcast_producers.fitting import FittedCodec, fit
from labelcast_producers.fitting.config import FitConfig

CLASSES = 1000
SEEDS = 50
_BLOCK = 2**20


@dataclass(frozen=True)
class Generated:
    """A label set of which every view exists.

    Attributes:
        on_disk: the label set.
        rows: its number of rows.
    """

    on_disk: LabelSetDirectory
    rows: int


def fitted_codec(directory: Path, *, codes: int, steps: int) -> FittedCodec:
    """Fit a codec to logits that a few hidden features make, as a teacher's do."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(4000, 24)).astype(np.float32)
    logits = features @ rng.normal(size=(24, CLASSES)).astype(np.float32)
    directory.mkdir(parents=True)
    path = directory / "logits.npy"
    np.save(path, logits.astype(np.float16))
    # Labels are not encoded with it: searching for codes would take most of the time.
    config = FitConfig(codes=codes, steps=steps, search_rounds=0, search_from=1.0, metric_rows=512)
    return fit(
        open_label_file(path),
        config,
        out=directory / "fit",
        label_kind=LabelKind.LOGITS,
        device="cpu",
    )


def random_codec(*, codes: int) -> Codec:
    """A codec of random weights, for codes that nobody decodes."""
    rng = np.random.default_rng(6)
    header = CodecHeader(CLASSES, LabelKind.LOGITS, TemperatureRange(1.0, 1.0))
    shape = VqaeShape(codes=codes, codebook_size=256, codeword_width=2, hidden=())

    def values(*sizes: int) -> NDArray[np.float16]:
        return rng.normal(size=sizes).astype(np.float16)

    layers = [(values(out, into), values(out)) for into, out in shape.layer_widths(CLASSES)]
    return VqaeCodec(header, shape, values(codes, 256, 2), layers)


def coded(
    directory: Path, codec: Codec, *, samples: int, sparse: bool, seeds: int = SEEDS
) -> Generated:
    """A label set of random codes; its sample IDs are 0 and up, or spread over 64 bits."""
    rng = np.random.default_rng(1)

    def blocks() -> Iterator[Rows]:
        left = samples * seeds
        while left:
            count = min(left, _BLOCK)
            yield rng.integers(0, 256, (count, codec.row_stride), dtype=np.uint8)
            left -= count

    ids = np.arange(samples, dtype=np.uint64)
    if sparse:
        ids = np.unique(rng.integers(0, 2**63, samples + 64, dtype=np.uint64))[:samples]
    return _written(directory, codec, ids, np.arange(seeds, dtype=np.uint32), blocks())


def raw(directory: Path, dense: NDArray[np.float16]) -> Generated:
    """A label set that holds dense labels as they are: shape (rows, C), one seed."""
    codec = RawCodec(CodecHeader(dense.shape[1], LabelKind.LOGITS, None), Precision.FP16)
    ids = np.arange(len(dense), dtype=np.uint64)
    rows = dense.view(np.uint8).reshape(len(dense), -1)
    pieces = (rows[start : start + 2**16] for start in range(0, len(rows), 2**16))
    return _written(directory, codec, ids, np.zeros(1, np.uint32), pieces)


def _written(
    directory: Path,
    codec: Codec,
    sample_ids: NDArray[np.uint64],
    seeds: NDArray[np.uint32],
    blocks: Iterator[Rows],
) -> Generated:
    on_disk = write_generated(
        directory,
        codec,
        blocks,
        sample_ids=sample_ids,
        seeds=seeds,
        teacher="a generated teacher",
        teacher_name="generated",
        dataset="a generated data set",
    )
    return Generated(on_disk, len(sample_ids) * len(seeds))
