"""What a codec is tried on: a labelled set of glyphs, and its views."""

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec.label_task import LabelTask
from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.files import whole_file
from labelcast.label_set import ViewIndex
from labelcast.torch import SampleTable
from labelcast.torch.images.render_seeded import ViewRenderer
from labelcast_glyphs.demo import POLICY
from labelcast_glyphs.distilled import DistilledSet, distil
from labelcast_glyphs.teacher import TeacherSettings, train_or_load_teacher
from labelcast_producers.dense.labels import DESCRIPTION_NAME, DenseLabels
from labelcast_producers.relabel.relabeller import relabel

_KEEP_IMAGE_BYTES = 2**30


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that decides a task's figures, beside the codecs.

    Attributes:
        name: of the task.
        num_classes: characters of Glyphs.
        images_per_class: of the distilled set.
        views: augmentation seeds, and epochs of a student.
        teacher_epochs: of its training.
        fit_steps: of every codec that is fitted by gradient descent.
        seeds: students of the yardsticks and of our own codecs.
        rival_seeds: students of every other codec.
    """

    name: str
    num_classes: int
    images_per_class: int = 2
    views: int = 60
    teacher_epochs: int = TeacherSettings().epochs
    fit_steps: int = 5000
    seeds: int = 5
    rival_seeds: int = 3


TASKS = {
    f"glyphs-{classes}": Protocol(name=f"glyphs-{classes}", num_classes=classes)
    for classes in (1000, 300, 2000)
}
QUICK = Protocol(
    name="glyphs-quick",
    num_classes=300,
    views=24,
    teacher_epochs=8,
    fit_steps=300,
    seeds=1,
    rival_seeds=1,
)


@dataclass(frozen=True)
class Task(LabelTask):
    """A prepared task in its work directory; `prepare` makes one.

    Attributes:
        protocol: the settings.
        directory: holds labels, views and the points' results.
    """

    protocol: Protocol
    directory: Path

    @cached_property
    def dense(self) -> DenseLabels:
        """The teacher's labels of every view."""
        return DenseLabels.open(self.directory / "dense")

    @property
    def fit_steps(self) -> int:
        """Of every codec that is fitted by gradient descent."""
        return self.protocol.fit_steps

    @cached_property
    def distilled(self) -> DistilledSet:
        """The images that students see."""
        return DistilledSet.load(self.directory / "distilled.safetensors")

    @cached_property
    def index(self) -> ViewIndex:
        """Which row is which view's."""
        return ViewIndex([self.dense.index])

    def policy(self, *, mixed: bool) -> AugmentationPolicy:
        """The views' recipe, with CutMix or without."""
        return POLICY if mixed else replace(POLICY, mix=Mix.NONE)

    def views(self, *, mixed: bool) -> NDArray[np.float16]:
        """Rendered views, fp16, shape (rows, 1, height, width), in row order; a mapped file."""
        mapped: NDArray[np.float16] = np.load(_views_path(self.directory, mixed), mmap_mode="r")
        return mapped


def prepare(protocol: Protocol, directory: Path) -> Task:
    """Make what is missing of teacher, images, dense labels and rendered views.

    Raises:
        ValueError: `directory` holds another protocol's files, or a damaged one.
        OSError: it cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    task = Task(protocol, directory)
    if not (directory / "dense" / DESCRIPTION_NAME).is_file():
        label(protocol, directory)
    expected = protocol.views * protocol.images_per_class * protocol.num_classes
    if task.dense.rows.num_rows != expected:
        raise ValueError(
            f"{directory} holds {task.dense.rows.num_rows} labels, the protocol has {expected};"
            " move it away"
        )
    for mixed in (True, False):
        if not _views_path(directory, mixed).is_file():
            _render(task, mixed)
    return task


def _views_path(directory: Path, mixed: bool) -> Path:
    return directory / ("views-mixed.npy" if mixed else "views-unmixed.npy")


def label(protocol: Protocol, directory: Path) -> None:
    """Train a teacher, choose its images and label their views, into an existing directory."""
    from labelcast_glyphs.dataset import GlyphDataset

    cache = Path(os.environ.get("GLYPHS_CACHE_DIR", directory.parent / "teachers"))
    settings = TeacherSettings(num_classes=protocol.num_classes, epochs=protocol.teacher_epochs)
    teacher = train_or_load_teacher(settings, cache)
    images = GlyphDataset("train", protocol.num_classes)
    chosen = distil(images, teacher.network, images_per_class=protocol.images_per_class)
    chosen.save(directory / "distilled.safetensors")
    (directory / "teacher.json").write_text(json.dumps({"held_out_top1": teacher.held_out_top1}))
    relabel(
        teacher.network,
        SampleTable(chosen),
        POLICY,
        seeds=protocol.views,
        out=directory / "dense",
        teacher_name=teacher.path.stem,
        device="cpu",
    )


def _render(task: Task, mixed: bool) -> None:
    """Write every view once: drawing them again took a third of each student's time."""
    policy = task.policy(mixed=mixed)
    table = SampleTable(task.distilled)
    renderer = ViewRenderer(policy, table.sample_ids)
    read = table.reader(keep_bytes=_KEEP_IMAGE_BYTES)
    path = _views_path(task.directory, mixed)
    views = task.dense.index.views()
    shape = (len(views), 1, policy.view_height, policy.view_width)
    with whole_file(path) as partial:
        written = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=shape)
        row = 0
        for batch in views.batches(500):
            partners = renderer.partners(batch)
            partner_images = None if partners is batch else read(partners.sample_ids)
            rendered = renderer.render(batch, read(batch.sample_ids), partner_images)
            written[row : row + len(batch)] = rendered.numpy()
            row += len(batch)
        written.flush()
