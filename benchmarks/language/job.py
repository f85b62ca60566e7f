"""A unit of work in a process of its own, whose memory is its alone.

python -m benchmarks.language.job SCALE DIRECTORY POINT UNIT
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.codec.queue import Unit, write_result
from benchmarks.language.place import LABELS_UNIT, Place, seed_of
from benchmarks.language.points import HARD, POINTS, Point
from benchmarks.language.settings import FULL, QUICK

SCALES = {scale.name: scale for scale in (FULL, QUICK)}


def main() -> None:
    """Do the unit and write its result."""
    import torch

    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(1)
    scale, directory, name, unit = sys.argv[1:]
    place, point = Place(SCALES[scale], Path(directory)), POINTS[name]
    result = _labels(point, place) if unit == LABELS_UNIT else _student(point, place, unit)
    write_result(Unit(name, unit, place.of(point), None).result, result)


def _labels(point: Point, place: Place) -> dict[str, Any]:
    from benchmarks.language.fidelity import fidelity
    from benchmarks.language.label_sets import make_labels
    from benchmarks.language.wire import wire_bytes_per_token

    made = make_labels(point, place)
    if point.name == HARD:
        return made
    wire = {"wire_bytes_per_token": wire_bytes_per_token(point, place)}
    return made | wire | {"fidelity": fidelity(point, place)}


def _student(point: Point, place: Place, unit: str) -> dict[str, Any]:
    from benchmarks.language.students import train
    from labelcast.label_set_directory import LabelSetDirectory

    seed = seed_of(unit)
    assert seed is not None
    vocabulary = LabelSetDirectory(place.exact).manifest.contract.num_classes
    return train(point, place, seed=seed, vocabulary=vocabulary)


def _end_with_parent(parent: int) -> None:
    """Do not outlive a parent that was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main()
