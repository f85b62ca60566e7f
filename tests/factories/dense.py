"""Dense labels on disk, right until a test makes them wrong."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.codec import LabelKind
from labelcast.label_set import GridIndex, RowOrder, class_list_digest, digest_of
from labelcast_producers.dense.labels import (
    DESCRIPTION_NAME,
    LABELS_NAME,
    Description,
    write_tables,
)

SAMPLES, SEEDS, CLASSES = 30, 4, 6
POLICY = AugmentationPolicy(view_height=16, view_width=16, mix=Mix.CUTMIX, key=5)
IDS = 10**12 + 3 * np.arange(SAMPLES, dtype=np.uint64)
HARD = np.random.default_rng(1).integers(CLASSES, size=SAMPLES)


def description_of(**changes: Any) -> Description:
    values: dict[str, Any] = {
        "teacher": digest_of(b"teacher"),
        "teacher_name": "a teacher of tests",
        "dataset": digest_of(b"data set"),
        "num_classes": CLASSES,
        "class_list": class_list_digest([str(number) for number in range(CLASSES)]),
        "policy": POLICY,
        "label_kind": LabelKind.LOGITS,
        "temperature": None,
    }
    return Description(**(values | changes))


def logits() -> NDArray[np.float16]:
    """Shape (SEEDS, SAMPLES, CLASSES); the hard label is likely, but not certain, to be first."""
    values = np.random.default_rng(2).normal(0, 2, (SEEDS, SAMPLES, CLASSES))
    values += 3 * np.eye(CLASSES)[HARD]
    return values.astype(np.float16)


def softened(values: NDArray[Any], temperature: float) -> NDArray[np.float32]:
    """Softmax over the last axis."""
    scaled = values.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: NDArray[np.float32] = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def write_dense(
    directory: Path,
    labels: NDArray[Any] | None = None,
    *,
    hard: NDArray[np.int64] | None = HARD,
    **changes: Any,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / LABELS_NAME, logits() if labels is None else labels)
    index = GridIndex(IDS, np.arange(SEEDS, dtype=np.uint32), RowOrder.SEED_MAJOR)
    write_tables(directory, index, hard)
    (directory / DESCRIPTION_NAME).write_bytes(description_of(**changes).to_bytes())
    return directory
