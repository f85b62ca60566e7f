"""A system's labels: as its producer leaves them, as they are imported, and as our codes.

Every step is done once: its result lies as JSON beside what it made.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.codec.queue import write_result
from benchmarks.systems.commands import TEACHER, labelcast, labelcast_json
from benchmarks.systems.pixels import write_folder
from benchmarks.systems.plan import production_of, relabel_options
from benchmarks.systems.producer import produce
from benchmarks.systems.settings import VIEW_SIZE, Scale, System
from benchmarks.systems.teacher import load
from labelcast_glyphs.dataset import GlyphDataset
from labelcast_glyphs.distilled import distil
from labelcast_glyphs.teacher import train_or_load_teacher
from labelcast_producers.budget.measured import measure

Result = dict[str, Any]
_COLUMN_BYTES = {"coords": 16, "flip": 1, "mix_index": 8}


@dataclass(frozen=True)
class Common:
    """What all systems share.

    Attributes:
        images: folder of the distilled images.
        teacher: file of its weights.
        facts: JSON values about both.
    """

    images: Path
    teacher: Path
    facts: Result


@dataclass(frozen=True)
class Place:
    """Where a system's things lie.

    Attributes:
        directory: of the system.
        codes_name: of codec and label set of one size and one set of settings.
    """

    directory: Path
    codes_name: str

    @classmethod
    def of(cls, work: Path, system: System, scale: Scale, size: int) -> "Place":
        """The place of a system in a work directory, for codes of `size` bytes."""
        config = json.dumps(scale.fit_config(system), sort_keys=True)
        identity = hashlib.sha256(config.encode()).hexdigest()[:8]
        return cls(work / system.name, f"codes-{size}-{identity}")

    @property
    def files(self) -> Path:
        """The producer's."""
        return self.directory / "files"

    @property
    def dense(self) -> Path:
        """Imported, for fitting."""
        return self.directory / "dense"

    @property
    def raw(self) -> Path:
        """Label set that keeps labels as they are."""
        return self.directory / "raw"

    @property
    def codes(self) -> Path:
        """Label set of our codes."""
        return self.directory / self.codes_name

    def unit(self, name: str) -> Path:
        """Result file of a step."""
        return self.directory / "units" / f"{name}.json"


def once(path: Path, make: Callable[[], Result]) -> Result:
    """The result of a step, which is done unless its file is there; it gets its seconds."""
    if not path.is_file():
        began = time.perf_counter()
        result = make()
        result |= {"seconds": result.get("seconds", round(time.perf_counter() - began, 2))}
        write_result(path, result)
    found: Result = json.loads(path.read_text())
    return found


def prepare_common(scale: Scale, work: Path, cache: Path) -> Common:
    """Teacher and images."""
    images = work / "images"

    def make() -> Result:
        teacher = train_or_load_teacher(scale.teacher, cache)
        chosen = distil(
            GlyphDataset("train", scale.teacher.num_classes),
            teacher.network,
            images_per_class=scale.images_per_class,
        )
        shutil.rmtree(images, ignore_errors=True)
        write_folder(images, chosen.images, chosen.hard_labels.tolist())
        return {"teacher": str(teacher.path.resolve()), "teacher_top1": teacher.held_out_top1}

    facts = once(work / "images.json", make)
    if not Path(facts["teacher"]).is_file():
        raise ValueError(f"{facts['teacher']} is gone; delete {work} to start anew")
    return Common(images, Path(facts["teacher"]), facts)


def store_labels(system: System, scale: Scale, common: Common, place: Place) -> Result:
    """What the system itself keeps: its files and their bytes, or the form its labels would take.

    Bytes of labels and of augmentation are those of the values; the rest is container.
    """
    classes = scale.teacher.num_classes
    if not system.stores:
        labels = scale.labelled_epochs(system) * scale.samples
        return _sizes(labels, 2 * classes * labels, 0, 2 * classes * labels)

    def make() -> Result:
        shutil.rmtree(place.files, ignore_errors=True)
        production = production_of(system, scale)
        labels = produce(production, common.images, load(common.teacher), place.files)
        total = sum(path.stat().st_size for path in place.files.rglob("*") if path.is_file())
        batches = len(production.stored())
        augmentation = sum(_COLUMN_BYTES.values()) * labels + 40 * batches
        return _sizes(labels, 2 * classes * labels, augmentation, total) | {"files": batches}

    return once(place.unit("files"), make)


def _sizes(labels: int, payload: int, augmentation: int, total: int) -> Result:
    return {
        "labels": labels,
        "payload_bytes": payload,
        "augmentation_bytes": augmentation,
        "container_bytes": total - payload - augmentation,
        "total_bytes": total,
    }


def import_labels(system: System, scale: Scale, common: Common, place: Place) -> Result:
    """Dense labels, and the label set that keeps them as they are."""
    weights = json.dumps({"path": str(common.teacher)})

    def dense() -> Result:
        if system.stores:
            check = ("--verify-with", TEACHER, "--verify-args", weights)
            return _import(common, place, place.dense, *check)
        labelcast(
            *("relabel", "--images", common.images, "--out", place.dense, "--quiet"),
            *("--teacher", TEACHER, "--teacher-args", weights),
            *relabel_options(system, scale),
        )
        return {"order": "given"}

    def raw() -> Result:
        if system.stores:
            # The teacher has told by now which of torch's orders it was.
            return _import(common, place, place.raw, "--codec", "raw:fp16", "--draws", "two")
        return labelcast_json(
            *("encode", "--labels", place.dense, "--codec", "raw:fp16"),
            *("--out", place.raw, "--quiet"),
        )

    found = once(place.unit("dense"), dense)
    raw_found = once(place.unit("raw"), lambda: raw() | _weigh(place.raw))
    return {"dense": found, "raw": raw_found}


def _import(common: Common, place: Place, out: Path, *more: object) -> Result:
    return labelcast_json(
        *("import", place.files, "--out", out, "--images", common.images),
        *("--view-size", VIEW_SIZE, "--quiet", *more),
    )


def make_codes(system: System, scale: Scale, place: Place, size: int) -> Result:
    """Fit and encode."""
    codec = place.directory / f"{place.codes_name}-codec"

    def make() -> Result:
        config = place.directory / f"{place.codes_name}-config.json"
        config.write_text(json.dumps(scale.fit_config(system)))
        report = labelcast_json(
            *("fit", "--labels", place.dense, "--out", codec, "--quiet"),
            *("--config", config, "--target-bytes", size),
        )
        labelcast(
            *("encode", "--labels", place.dense, "--codec", codec),
            *("--out", place.codes, "--quiet"),
        )
        kept = {name: report[name] for name in ("config", "seen", "unseen", "codec_bytes")}
        return _weigh(place.codes) | kept | {"fit_seconds": report["seconds"]}

    return once(place.unit(place.codes_name), make)


def _weigh(label_set: Path) -> Result:
    """Bytes at rest by part, and what a label would weigh at other numbers of labels."""
    weighed = measure(label_set)
    return {
        "labels": weighed.labels,
        "parts": weighed.parts,
        "total_bytes": weighed.total_bytes,
        "bytes_per_label": weighed.total_here,
        "bytes_per_label_at": {str(count): size for count, size in weighed.total_at.items()},
    }
