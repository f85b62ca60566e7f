"""A codec fitted to a labelled set, and the labels that its decoder gives."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codec.contract import SAMPLE_BYTES, BenchmarkCodec, Fit, FitInput
from benchmarks.codec.label_task import LabelTask
from labelcast.files import whole_file

# The unit of a point that fits and decodes, and the file of what it decoded.
CODEC_UNIT = "codec"
LABELS_NAME = "labels.npy"
_NO_FIDELITY = dict.fromkeys(("kl_nats", "reverse_kl_nats", "top1_agreement", "top5_agreement"))
_PERFECT = {"kl_nats": 0.0, "reverse_kl_nats": 0.0, "top1_agreement": 1.0, "top5_agreement": 1.0}


def fit_codec(fit: Fit, task: LabelTask, out: Path) -> tuple[BenchmarkCodec, dict[str, Any]]:
    """Fit a codec.

    Args:
        fit: makes it.
        task: what it is fitted to.
        out: directory for checkpoints.

    Returns:
        The codec, and what is reported of it; JSON values.
    """
    began = time.perf_counter()
    codec = fit(FitInput(task, out))
    fit_seconds = codec.fit_seconds or time.perf_counter() - began
    rows, labels = next(task.labels(np.zeros(1, dtype=np.int64)))
    return codec, {
        "label_kind": str(codec.label_kind),
        "payload_bytes_per_label": codec.encode(labels, rows).shape[1],
        "codec_bytes": codec.codec_bytes,
        "sample_bytes": codec.sample_bytes,
        "fit_seconds": round(fit_seconds, 2),
        "choice": codec.choice,
    }


def yardstick(task: LabelTask, *, dense: bool) -> dict[str, Any]:
    """The same report where nothing is fitted: of the teacher's own labels, or of hard ones."""
    return {
        "label_kind": str(task.dense.description.label_kind),
        "payload_bytes_per_label": 2 * task.num_classes if dense else 0,
        "codec_bytes": 0,
        "sample_bytes": SAMPLE_BYTES,
        "fit_seconds": 0.0,
        "encode_labels_per_second": None,
        "decode_labels_per_second": None,
        "choice": {},
        "unseen": _PERFECT if dense else _NO_FIDELITY,
    }


def decode_all(codec: BenchmarkCodec, task: LabelTask, path: Path) -> dict[str, Any]:
    """Write what students get, in fp16: an `.npy` file of all rows, whole or not at all.

    Returns:
        Speeds of both directions; JSON values.
    """
    count = task.dense.rows.num_rows
    encode_seconds, decode_seconds = 0.0, 0.0
    with whole_file(path) as partial:
        written = np.lib.format.open_memmap(partial, "w+", np.float16, (count, task.num_classes))
        for rows, labels in task.labels(np.arange(count)):
            began = time.perf_counter()
            packed = codec.encode(labels, rows)
            encoded = time.perf_counter()
            decoded = codec.decode(packed, rows)
            decode_seconds += time.perf_counter() - encoded
            encode_seconds += encoded - began
            written[rows] = decoded
        written.flush()
    return {
        "encode_labels_per_second": round(count / max(encode_seconds, 1e-9)),
        "decode_labels_per_second": round(count / max(decode_seconds, 1e-9)),
    }
