"""Runs a teacher over every view of a data set, in one process or several."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelcast.augmentation import AugmentationPolicy
from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError
from labelcast.files import write_whole
from labelcast.identifiers import Digest
from labelcast.label_set import RowOrder, digest_of, index_of_cells, to_canonical
from labelcast.progress import Progress, unwatched
from labelcast.torch.images.compared import compared
from labelcast.torch.images.render_seeded import ViewRenderer
from labelcast.torch.images.samples import ImageReader, SampleTable
from labelcast.views import Views
from labelcast_producers.dense.labels import (
    DESCRIPTION_NAME,
    LABELS_NAME,
    DenseLabels,
    Description,
    write_tables,
)
from labelcast_producers.fitting.parallel import ALONE, Workers
from labelcast_producers.relabel.control_views import take_control_images
from labelcast_producers.relabel.finished_batches import START_ANEW, FinishedBatches
from labelcast_producers.relabel.label_writer import LabelWriter
from labelcast_producers.relabel.labelling_loop import LabellingLoop
from labelcast_producers.relabel.plan import Plan
from labelcast_producers.relabel.recipes import RECIPE_NAME, Recipe
from labelcast_producers.relabel.same_settings import expect_same_settings
from labelcast_producers.relabel.teacher import Teacher, module_digest

_KEEP_IMAGE_BYTES = 2**30
_MAX_SEEDS = 2**32 - 1
# Another device rounds differently; another network or another forward pass differs by more.
_SAME_LABELS = 0.05

Labeller = Callable[[Views], NDArray[np.float16]]


def relabel(
    teacher: nn.Module,
    table: SampleTable,
    policy: AugmentationPolicy | None,
    *,
    seeds: int,
    out: Path,
    teacher_name: str,
    present: NDArray[np.int64] | None = None,
    recipe: Recipe | None = None,
    device: str = "auto",
    batch_rows: int = 500,
    progress: Progress = unwatched,
    fresh: bool = False,
    save_seconds: float = 5.0,
    workers: Workers = ALONE,
    output: str | None = None,
    from_probabilities: bool = False,
    control_views: bool = True,
) -> DenseLabels:
    """Write the teacher's logits for every (seed, sample), in memory of a few batches.

    An interrupted run resumes where it stopped when called again. All of `workers` must call it.

    Args:
        teacher: images (N, channels, height, width) → logits (N, C), or something that holds
            them; used in eval mode, with images of its weights' type.
        table: data set to label.
        policy: how views are made; None labels the samples themselves.
        seeds: augmentation seeds 0 … seeds − 1.
        out: output directory; a finished run there is replaced.
        teacher_name: name of the teacher, for people.
        present: int64, strictly increasing: views to label, numbered seed × samples + sample
            position; None labels all.
        recipe: recipe to write beside the labels for those who train students.
        device: torch device or "auto".
        batch_rows: views per forward pass, at least 1.
        progress: counts views; called in the first of `workers` alone.
        fresh: discard what an unfinished run left there.
        save_seconds: least time between two records of progress.
        workers: processes that share the work, all of which see `out`.
        output: which of several outputs holds the logits, see `Teacher`.
        from_probabilities: the teacher ends in a softmax; its logarithm is taken.
        control_views: keep 8 × 8 thumbnails of a few views, with which students compare theirs; a
            data set whose `control_views` is False gives none.

    Raises:
        InvalidRequestError: the teacher is no torch module, refuses the images or gives no tensor
            of logits, a hard label is of no class, there are too few or too many seeds, `out` holds
            an unfinished run with other settings, or workers differ in what they label.
        ManifestError: `present` does not increase, or names views that do not exist.
        StoreFullError: the disk of `out` has no room for the labels.
        LabelValueError: the teacher gave NaN, infinity or a value beyond fp16, which names the
            view; or probabilities where logits are expected, or the other way round.
        LabelFileError: the teacher has another number of classes than the data set.
        DifferentImageError: an image changed while it was labelled.
        NetworkError: another worker has gone.
    """
    # An object named on a command line can be anything.
    if not isinstance(teacher, nn.Module):
        raise InvalidRequestError(
            f"the teacher {teacher_name} is of type {type(teacher).__name__}, not torch.nn.Module;"
            " name a module, or a function that returns one"
        )
    if not 1 <= seeds <= _MAX_SEEDS:
        raise InvalidRequestError(f"seeds must be 1 to {_MAX_SEEDS}, got {seeds}")
    if batch_rows < 1:
        raise InvalidRequestError(f"a batch has at least one view, not {batch_rows}")
    place = workers.choose_device(device)
    network = Teacher(
        teacher.to(place).eval(),
        teacher_name,
        output=output,
        from_probabilities=from_probabilities,
    )
    classes = len(table.dataset.class_names)
    # Before the labels, which may take days.
    hard_labels = _hard_labels(table, classes) if workers.is_first else None
    rows = (seeds, len(table)) if present is None else (len(present),)
    writer = LabelWriter(out / LABELS_NAME, (*rows, classes))
    out.mkdir(parents=True, exist_ok=True)
    writer.check_room()
    index = index_of_cells(
        table.sample_ids, np.arange(seeds, dtype=np.uint32), RowOrder.SEED_MAJOR, present
    )
    plan = Plan(index, batch_rows)
    fingerprints = table.fingerprints()
    description = Description(
        teacher=module_digest(teacher),
        teacher_name=teacher_name,
        dataset=fingerprints.digest(),
        num_classes=classes,
        class_list=table.class_list(),
        policy=policy,
        label_kind=LabelKind.LOGITS,
        temperature=None,
        file_reading=fingerprints.reading,
    )
    kept = FinishedBatches(out, _settings(description, plan, network))
    expect_same_settings(workers, kept.settings)
    renderer = ViewRenderer(policy, table.sample_ids)
    # An image that changes while the teacher labels would belong to no fingerprint.
    read = compared(table, fingerprints).reader(keep_bytes=_KEEP_IMAGE_BYTES)

    def render(views: Views) -> Tensor:
        return _rendered(renderer, read, views, place)

    def label(views: Views) -> NDArray[np.float16]:
        return _to_fp16(_label(network, render(views)), views, classes)

    done = _take_up(kept, writer, plan, workers, label, fresh=fresh)
    with writer.opened() as labels:

        def write_batch(batch: int) -> None:
            first, end = plan.rows(batch)
            labels.write(first, label(index.views_at(np.arange(first, end))))

        loop = LabellingLoop(plan, done, workers, kept, [labels])
        loop.work(write_batch, save_seconds=save_seconds, progress=progress)
    workers.wait()
    if workers.is_first:
        kept_views = control_views and getattr(table.dataset, "control_views", True)
        control_images = take_control_images(index, render) if kept_views else None
        write_tables(
            out,
            index,
            hard_labels,
            fingerprints=fingerprints,
            control_images=control_images,
        )
        if recipe is not None:
            write_whole(out / RECIPE_NAME, recipe.to_bytes())
        write_whole(out / DESCRIPTION_NAME, description.to_bytes())
        kept.clear()
    workers.wait()
    return DenseLabels.open(out)


def _hard_labels(table: SampleTable, classes: int) -> NDArray[np.int64]:
    """Hard labels of the samples, in the order of their IDs: int64, shape (S,)."""
    hard = table.hard_labels()
    known = (hard >= 0) & (hard < classes)
    if not known.all():
        at = int(np.argmin(known))
        raise InvalidRequestError(
            f"the data set gives sample ID {table.sample_ids[at]} the hard label {hard[at]}, but"
            f" has {classes} class_names; correct one of them"
        )
    return hard


def _settings(description: Description, plan: Plan, teacher: Teacher) -> Digest:
    """Digest of all that decides the labels and their rows."""
    present, policy = plan.index.present, description.policy
    value: dict[str, Any] = {
        "teacher": description.teacher,
        "dataset": description.dataset,
        "class_list": description.class_list,
        "policy": None if policy is None else policy.as_json(),
        "seeds": len(plan.index.seeds),
        "present": None if present is None else digest_of(present.astype("<i8").tobytes()),
        "batch_rows": plan.batch_rows,
    }
    if teacher.output is not None:
        value["output"] = teacher.output
    if teacher.from_probabilities:
        value["from_probabilities"] = True
    return digest_of(to_canonical(value))


def _take_up(
    kept: FinishedBatches,
    writer: LabelWriter,
    plan: Plan,
    workers: Workers,
    label: Labeller,
    *,
    fresh: bool,
) -> NDArray[np.int64]:
    """Prepare the directory to resume; returns the finished batches, increasing."""
    done = np.empty(0, dtype=np.int64) if fresh else kept.read(plan.num_batches)
    if not writer.exists():
        done = done[:0]
    # Nobody may change the files that others are still to read.
    workers.wait()
    if workers.is_first:
        if len(done):
            _expect_its_labels(writer, plan, int(done[0]), label)
        for name in (DESCRIPTION_NAME, RECIPE_NAME):
            (kept.directory / name).unlink(missing_ok=True)
        if len(done):
            kept.write(0, done, rows=plan.count_rows(done))
            kept.clear(but=0)
        else:
            kept.clear()
            writer.create()
    workers.wait()
    return done


def _expect_its_labels(writer: LabelWriter, plan: Plan, batch: int, label: Labeller) -> None:
    """Refuse a teacher with the same weights but changed code: its digest does not show that."""
    first, end = plan.rows(batch)
    with writer.opened() as labels:
        stored = labels.read(first, end - first).astype(np.float32)
    again = label(plan.index.views_at(np.arange(first, end))).astype(np.float32)
    if np.abs(again - stored).max() > _SAME_LABELS * max(1.0, float(np.abs(stored).max())):
        raise InvalidRequestError(
            f"{writer.path.parent} holds an unfinished run in which the teacher gave other labels"
            f" to the same views; {START_ANEW}"
        )


@torch.inference_mode()
def _label(teacher: Teacher, images: Tensor) -> Tensor:
    return teacher.logits(images)


def _rendered(
    renderer: ViewRenderer, read: ImageReader, views: Views, device: torch.device
) -> Tensor:
    partners = renderer.partners(views)
    partner_images = None if partners is views else read(partners.sample_ids).to(device)
    return renderer.render(views, read(views.sample_ids).to(device), partner_images)


def _to_fp16(logits: Tensor, views: Views, classes: int) -> NDArray[np.float16]:
    if logits.shape != (len(views), classes):
        raise LabelFileError(
            f"the teacher gives labels of shape {tuple(logits.shape[1:])},"
            f" the data set has {classes} classes"
        )
    half = logits.to(torch.float16)
    bad = ~torch.isfinite(half).all(dim=1)
    if bad.any():
        at = int(bad.nonzero()[0])
        raise LabelValueError(
            f"the teacher gives NaN, infinity or a value beyond fp16 for sample ID"
            f" {views.sample_ids[at]}, seed {views.seeds[at]}; check its weights and inputs, then"
            f" {START_ANEW}",
            sample_id=views.sample_ids[at],
            seed=views.seeds[at],
        )
    return half.numpy()
