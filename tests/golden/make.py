"""Make the golden files anew: only for a format that is new, and beside those that there are.

    python -m tests.golden.make DIRECTORY

Nothing calls this. Files that exist are left alone, for what they hold is what people have.
"""

import dataclasses
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from labelcast import Views
from labelcast.codec import LabelKind
from labelcast.label_set import GridIndex, RowOrder, class_list_digest, digest_of
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.dense.labels import DenseLabels, Description
from labelcast_producers.encoding.add_stage import add_stage
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import choose_encoder
from labelcast_server.store.embedded.data_files import data_files
from labelcast_server.store.embedded.data_mark import MARK_NAME
from tests.e2e.running_service import clean_environment, running_service
from tests.factories.in_memory import InMemory
from tests.factories.label_sets import POLICY, CodecName, make_label_set
from tests.factories.sequence_sets import make_sequence_set
from tests.factories.state_sets import States
from tests.golden.expected import LATER, NAMES, RETIRED, Expected, as_tensors
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.sre2l import write_sre2l

_CODECS: dict[str, CodecName] = {
    "raw": "raw",
    "top-k": "topk",
    "vqae": "vqae",
    "vqae-context": "vqae-context",
}
_SAMPLES, _CLASSES = 8, 5


def make_label_sets(directory: Path) -> None:
    """Write every label set of `NAMES` into `directory`, with what is in it beside it."""
    for name, codec in _CODECS.items():
        make_label_set(directory / name, codec, num_samples=_SAMPLES, num_classes=_CLASSES)
    sizes: dict[str, Any] = {"samples": _SAMPLES, "classes": _CLASSES, "batch_size": 4, "view": 9}
    mixed_up, pruned = directory / "recorded-mixup", directory / "recorded-cutmix-pruned"
    _import(mixed_up, lambda to: write_sre2l(to, epochs=2, mix="mixup", **sizes))
    _import(pruned, lambda to: write_lpld(to, epochs=2.5, **sizes))
    _stage(directory)
    make_sequences(directory)
    for name in NAMES:
        save_file(
            as_tensors(_contents(LabelSetDirectory(directory / name))),
            directory / f"{name}.safetensors",
        )


def make_sequences(directory: Path) -> None:
    """Write those of sequences: of lengths that differ and ignored positions; and with a head."""
    labelled = np.arange(18) % 4 != 2
    make_sequence_set(directory / "sequences", lengths=(5, 1, 9, 3), labelled=labelled)
    States.make(softcap=20.0).write(directory / "states", shipped=True)


def make_data_directory(label_sets: Path, directory: Path) -> None:
    """Have a service keep all but `LATER`, one of them retired; copy what survives a restart."""
    with tempfile.TemporaryDirectory() as temporary, running_service(Path(temporary)) as service:
        for name in set(NAMES) - set(LATER):
            service.push(LabelSetDirectory(label_sets / name), f"golden:{name}")
        with service.registry() as registry:
            registry.tag("golden:another-name", LabelSetDirectory(label_sets / "raw").digest)
            registry.retire(f"golden:{RETIRED}")
        service.stop()
        # The token is secret, the rest is written anew at every start.
        kept = service.data_dir / "redis"
        for path in [*data_files(kept), Path(MARK_NAME)]:
            (directory / "redis" / path.parent).mkdir(parents=True, exist_ok=True)
            (directory / "redis" / path).write_bytes((kept / path).read_bytes())


def _import(out: Path, write: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory() as files:
        write(Path(files))
        subprocess.run(
            [
                *(sys.executable, "-m", "labelcast.cli", "import", files, "--out", str(out)),
                *("--codec", "raw:fp16", "--view-size", "9", "--quiet"),
            ],
            check=True,
            env=clean_environment(),
        )


def _stage(directory: Path) -> None:
    names = ("staged-one", "staged-two")
    base: LabelSetDirectory | None = None
    with tempfile.TemporaryDirectory() as temporary:
        for number, name in enumerate(names):
            added = _labels_of(Path(temporary) / name, number)
            base = add_stage(
                base, added, directory / name, name=name, learning_rate=0.01, epochs=2 + number
            )


def _labels_of(directory: Path, number: int) -> LabelSetDirectory:
    """A label set of every other sample."""
    sample_ids = np.arange(number, 2 * _SAMPLES, 2, dtype=np.uint64)
    values = np.random.default_rng(number).normal(size=(3 * _SAMPLES, _CLASSES))
    dense = DenseLabels(
        description=Description(
            teacher=digest_of(b"teacher"),
            teacher_name="a teacher of tests",
            dataset=digest_of(b"data set"),
            num_classes=_CLASSES,
            class_list=class_list_digest([f"class {number}" for number in range(_CLASSES)]),
            policy=POLICY,
            label_kind=LabelKind.LOGITS,
            temperature=None,
        ),
        index=GridIndex(sample_ids, np.arange(3, dtype=np.uint32), RowOrder.SAMPLE_MAJOR),
        hard_labels=np.arange(_SAMPLES) % _CLASSES,
        rows=InMemory(values.astype(np.float16)),
    )
    encoder = choose_encoder("raw:fp16", dense.description, temperature=1.0, device="cpu").encoder
    return write_label_set(dense, encoder, directory)


def _contents(label_set: LabelSetDirectory) -> Expected:
    parts = [segment.views() for segment in label_set.index().segments]
    views = Views(
        np.concatenate([part.sample_ids for part in parts]),
        np.concatenate([part.seeds for part in parts]),
    )
    rows = label_set.gather(views)
    return Expected(
        digest=label_set.digest,
        views=views,
        rows=rows,
        labels=label_set.decoder().decode(rows, views),
        recorded=_columns(label_set, views),
    )


def _columns(label_set: LabelSetDirectory, views: Views) -> dict[str, NDArray[Any]]:
    records = label_set.records()
    if records is None:
        return {}
    recorded = records.of(views)
    columns = {field.name: getattr(recorded, field.name) for field in dataclasses.fields(recorded)}
    return {name: column for name, column in columns.items() if column.size}


if __name__ == "__main__":
    (out,) = map(Path, sys.argv[1:])
    out.mkdir(parents=True)
    make_label_sets(out / "label_sets")
    make_data_directory(out / "label_sets", out / "data_directory")
