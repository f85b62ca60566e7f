"""The two kinds of work of a point: fit and decode once, then a student for each seed."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codec.contract import SAMPLE_BYTES, BenchmarkCodec, Fit, FitInput
from benchmarks.codec.fidelity import measure
from benchmarks.codec.points import Point, Supervision
from benchmarks.codec.queue import Unit, write_result
from benchmarks.codec.task import Task
from labelcast.codec import LabelKind
from labelcast.files import whole_file
from labelcast_producers.dense.files import LabelFile

CODEC_UNIT = "codec"
LABELS_NAME = "labels.npy"
_NO_FIDELITY = dict.fromkeys(("kl_nats", "reverse_kl_nats", "top1_agreement", "top5_agreement"))
_PERFECT = {"kl_nats": 0.0, "reverse_kl_nats": 0.0, "top1_agreement": 1.0, "top5_agreement": 1.0}


def student_unit(seed: int) -> str:
    """Name of a student's unit."""
    return f"student-{seed}"


def units_of(point: Point, task: Task) -> list[Unit]:
    """All units of a point, the first before the others."""
    directory = task.directory / "points" / point.name
    names = [CODEC_UNIT, *(student_unit(seed) for seed in point.seeds(task.protocol))]
    decoded = point.fit is not None
    return [
        Unit(point.name, name, directory, directory / LABELS_NAME if decoded else None)
        for name in names
    ]


def execute(point: Point, task: Task, unit: str) -> dict[str, Any]:
    """Do one unit.

    Returns:
        Its result, JSON values.
    """
    directory = task.directory / "points" / point.name
    directory.mkdir(parents=True, exist_ok=True)
    if unit == CODEC_UNIT:
        if point.fit is None:
            return _yardstick(point, task)
        return _fit_and_decode(point.fit, task, directory)
    seed = int(unit.rpartition("-")[2])
    if point.supervision is Supervision.DENSE:
        dense = task.dense
        assert isinstance(dense.rows, LabelFile)
        return _train(task, point, dense.rows.path, dense.description.label_kind, seed)
    kind = LabelKind(json.loads((directory / f"{CODEC_UNIT}.json").read_text())["label_kind"])
    return _train(task, point, directory / LABELS_NAME, kind, seed)


def _train(task: Task, point: Point, labels: Path, kind: LabelKind, seed: int) -> dict[str, Any]:
    from benchmarks.codec.student import train

    return train(task, point.supervision, labels, kind, seed=seed)


def _yardstick(point: Point, task: Task) -> dict[str, Any]:
    dense = point.supervision is Supervision.DENSE
    return {
        "label_kind": str(task.dense.description.label_kind),
        "payload_bytes_per_label": 2 * task.protocol.num_classes if dense else 0,
        "codec_bytes": 0,
        "sample_bytes": SAMPLE_BYTES,
        "fit_seconds": 0.0,
        "encode_labels_per_second": None,
        "decode_labels_per_second": None,
        "choice": {},
        "unseen": _PERFECT if dense else _NO_FIDELITY,
    }


def _fit_and_decode(fit: Fit, task: Task, directory: Path) -> dict[str, Any]:
    began = time.perf_counter()
    codec = fit(FitInput(task, directory / "fit"))
    fit_seconds = codec.fit_seconds or time.perf_counter() - began
    unseen = measure(codec, task, task.unseen_rows())
    payload, encode_seconds, decode_seconds = _decode_all(codec, task, directory / LABELS_NAME)
    count = task.dense.rows.num_rows
    return {
        "label_kind": str(codec.label_kind),
        "payload_bytes_per_label": payload,
        "codec_bytes": codec.codec_bytes,
        "sample_bytes": codec.sample_bytes,
        "fit_seconds": round(fit_seconds, 2),
        "encode_labels_per_second": round(count / max(encode_seconds, 1e-9)),
        "decode_labels_per_second": round(count / max(decode_seconds, 1e-9)),
        "choice": codec.choice,
        "unseen": unseen,
    }


def _decode_all(codec: BenchmarkCodec, task: Task, path: Path) -> tuple[int, float, float]:
    """Write what students get, in fp16: payload bytes a label, seconds to encode and to decode."""
    count, classes = task.dense.rows.num_rows, task.protocol.num_classes
    payload, encode_seconds, decode_seconds = 0, 0.0, 0.0
    with whole_file(path) as partial:
        written = np.lib.format.open_memmap(partial, "w+", np.float16, (count, classes))
        for rows, labels in task.labels(np.arange(count)):
            began = time.perf_counter()
            packed = codec.encode(labels, rows)
            encoded = time.perf_counter()
            decoded = codec.decode(packed, rows)
            decode_seconds += time.perf_counter() - encoded
            encode_seconds += encoded - began
            payload = packed.shape[1]
            written[rows] = decoded
        written.flush()
    return payload, encode_seconds, decode_seconds


def save(unit: Unit, result: dict[str, Any]) -> None:
    """Write a unit's result: from then on it is done."""
    write_result(unit.result, result)
