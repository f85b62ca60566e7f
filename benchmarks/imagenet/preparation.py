"""Before all points: pictures, their hard labels, and the teacher's labels of all views."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.codec.queue import write_result
from benchmarks.imagenet.label_facts import label_facts
from benchmarks.imagenet.parts import TESTED, Part
from benchmarks.imagenet.picture_files import write_pictures
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.settings import MIX_BATCH, TEACHER_NAME, VIEW_SIZE
from labelcast.augmentation import Mix
from labelcast_producers.relabel.recipes import RECIPES

ROOT = Path(__file__).parents[2]
# Views that pass through the teacher at once: more of them leave the cores' caches.
_BATCH_ROWS = 25


@dataclass(frozen=True)
class _Labels:
    """One directory of labels.

    Attributes:
        name: of the directory.
        part: whose pictures are labelled.
        pictures: how many of them, from the first.
        seeds: views of each.
        views: options of `labelcast relabel` that say how they are made.
    """

    name: str
    part: Part
    pictures: int
    seeds: int
    views: tuple[str, ...]


def prepare(place: Place, debian: Path, *, jobs: int) -> None:
    """Do what is missing; a run that was ended goes on where it was.

    Args:
        place: of the run.
        debian: directory that keeps Debian packages.
        jobs: processes that label.

    Raises:
        CalledProcessError: a command failed, and has said why on stderr.
        ValueError: the work directory is of other settings, a package is not the pinned one, or the
            teacher does not know what it must.
    """
    _require_same_settings(place)
    if not (place.directory / "images.json").is_file():
        write_result(place.directory / "images.json", write_pictures(place, debian))
    for labels in _label_directories(place):
        if not (place.directory / f"labels-{labels.name}.json").is_file():
            _relabel(place, labels, jobs)


def _require_same_settings(place: Place) -> None:
    """Labels and points of other settings that lie there must not be taken for these."""
    for directory, settings in (
        (place.directory, place.scale.labels_json()),
        (place.directory / "points", place.scale.points_json()),
    ):
        path = directory / "settings.json"
        if not path.is_file():
            write_result(path, settings)
        elif json.loads(path.read_text()) != settings:
            raise ValueError(f"{directory} is of a run with other settings; delete it")


def _label_directories(place: Place) -> list[_Labels]:
    scale = place.scale
    # Crops as students are trained on, of whole pictures: what a mix shows has no single teacher.
    crops = replace(RECIPES["sre2l"].policy(VIEW_SIZE, VIEW_SIZE), mix=Mix.NONE, mix_batch=0)
    policy = place.directory / "tested-policy.json"
    write_result(policy, crops.as_json())
    size = ("--view-size", str(VIEW_SIZE))
    sre2l = ("--recipe", "sre2l", "--batch-size", str(MIX_BATCH), *size)
    rded = ("--recipe", "rded", *size)
    return [
        *(
            _Labels(
                part,
                part,
                scale.tested_pictures,
                scale.tested_seeds,
                ("--policy", str(policy)),
            )
            for part in TESTED
        ),
        _Labels("rded", Part.TRAIN, scale.rded_pictures, scale.rded_seeds, rded),
        _Labels(Part.TRAIN, Part.TRAIN, scale.pictures, scale.seeds, sre2l),
    ]


def _relabel(place: Place, labels: _Labels, jobs: int) -> None:
    out = place.labels(labels.name)
    resumed, began = out.exists(), time.perf_counter()
    program = ["-m", "labelcast.cli", "relabel"]
    if jobs > 1:
        program = ["-m", "torch.distributed.run", "--nproc-per-node", str(jobs), *program]
    pictures = {
        "directory": str(place.directory / "images"),
        "part": labels.part,
        "count": labels.pictures,
    }
    command = [
        *(sys.executable, *program, "--out", str(out), *labels.views),
        *("--teacher", "benchmarks.imagenet.teacher:load", "--teacher-name", TEACHER_NAME),
        *("--dataset", "benchmarks.imagenet.pictures:Pictures.open"),
        *("--dataset-args", json.dumps(pictures), "--seeds", str(labels.seeds)),
        *("--batch-rows", str(_BATCH_ROWS), "--device", "cpu"),
    ]
    print(f"labels {labels.name}", file=sys.stderr, flush=True)
    # From the root: teacher and pictures are named by their import paths.
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    seconds = time.perf_counter() - began
    facts = label_facts(out)
    # Of a run that went on where another had stopped, nobody knows how long it took.
    speed = {
        "processes": jobs,
        "seconds": None if resumed else seconds,
        "labels_per_second": None if resumed else facts["labels"] / seconds,
    }
    write_result(place.directory / f"labels-{labels.name}.json", facts | speed)
