"""The students of a system: one for each way that labels reach them, and each seed."""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.codec.queue import write_result
from benchmarks.systems.direct import stored_batches, taught_batches
from benchmarks.systems.label_sets import Common, Place
from benchmarks.systems.plan import planned_views
from benchmarks.systems.service import served_batches
from benchmarks.systems.settings import Scale, System
from benchmarks.systems.training import train
from labelcast import LabelClient, Representation


class Way(StrEnum):
    """How labels reach a student."""

    DIRECT = "direct"
    RAW = "raw"
    CODES = "codes"


@dataclass(frozen=True)
class Student:
    """One run.

    Attributes:
        system: whose labels.
        scale: of the run.
        common: images and teacher.
        place: of the system.
        way: of the labels.
        seed: of initial weights, and of draws where batches are drawn.
    """

    system: System
    scale: Scale
    common: Common
    place: Place
    way: Way
    seed: int

    @property
    def tag(self) -> str:
        """Of the label set that it asks the service for."""
        name = self.place.codes_name if self.way is Way.CODES else "raw"
        return f"{self.system.name}:{name}"

    @property
    def result(self) -> Path:
        """Its JSON file: it is done when that is there."""
        codes = self.place.codes_name if self.way is Way.CODES else str(self.way)
        return self.place.unit(f"student-{codes}-{self.seed}")

    def read(self) -> dict[str, Any]:
        """What `run_student` wrote."""
        found: dict[str, Any] = json.loads(self.result.read_text())
        return found


def run_student(student: Student, address: str) -> dict[str, Any]:
    """Train one student and write its result.

    Args:
        student: which.
        address: host:port of the service; "" where it needs none.
    """
    torch.set_num_threads(1)
    system, scale, seed = student.system, student.scale, student.seed
    steps = len(planned_views(system, scale, seed))
    with ExitStack() as stack:
        client = None
        if student.way is Way.DIRECT:
            batches = _direct(student)
        else:
            client = stack.enter_context(LabelClient(address))
            of_codes = student.way is Way.CODES
            batches = served_batches(
                system,
                scale,
                seed,
                client=client,
                tag=student.tag,
                images=student.common.images,
                representation=Representation.codes() if of_codes else Representation.logits(),
            )
        classes = scale.teacher.num_classes
        result = train(batches, steps=steps, num_classes=classes, seed=seed)
        result["wire_bytes"] = 0 if client is None else client.wire_bytes.total
    write_result(student.result, result)
    return result


def _direct(student: Student) -> Iterator[tuple[Tensor, Tensor]]:
    system, scale, images = student.system, student.scale, student.common.images
    if system.stores:
        return stored_batches(system, scale, student.seed, files=student.place.files, images=images)
    return taught_batches(
        system, scale, student.seed, teacher=student.common.teacher, images=images
    )


def run_students(
    students: Sequence[Student],
    address: str,
    *,
    jobs: int,
    tell: Callable[[Student, dict[str, Any]], None],
) -> None:
    """Train students, in processes of their own where there are several jobs.

    Args:
        students: those that are missing.
        address: of the service that has their label sets.
        jobs: at once.
        tell: called for each that has ended.
    """
    if jobs == 1:
        for student in students:
            tell(student, run_student(student, address))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as executor:
        running = {executor.submit(run_student, student, address): student for student in students}
        try:
            for ended in as_completed(running):
                tell(running[ended], ended.result())
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
