"""What students see: the teacher's own views, made smaller.

A view is rendered at the teacher's size and then reduced. Drawn at another size it would have the
same crop, but its CutMix box is whole pixels of the view and would cover another share of it; and
sampling 256 pixels at 64 points skips most of them.
"""

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.imagenet.parts import Part
from benchmarks.imagenet.pictures import Pictures
from benchmarks.imagenet.place import Place
from labelcast.augmentation import AugmentationPolicy
from labelcast.files import whole_file
from labelcast.progress import Progress, unwatched
from labelcast.torch import SampleTable
from labelcast.torch.images.render_seeded import ViewRenderer
from labelcast.views import Views

# More of them leave the caches.
_BLOCK_ROWS = 50
_LEVELS = 255
# Of all views, roughly: the same for all students.
_MEAN, _DEVIATION = 0.45, 0.25


def views_path(place: Place, part: Part) -> Path:
    """File of the views: uint8, shape (rows, 3, size, size), in the order of the labels."""
    return place.directory / "views" / f"{part}-{place.scale.student.view_size}.npy"


def load_views(place: Place, part: Part) -> NDArray[np.uint8]:
    """Views that `write_views` has written, mapped into memory."""
    views: NDArray[np.uint8] = np.load(views_path(place, part), mmap_mode="r")
    return views


def write_views(place: Place, *, jobs: int, progress: Progress = unwatched) -> None:
    """Render every view once, if that is not done: no student needs to do it again.

    Args:
        place: with pictures and labels.
        jobs: processes.
        progress: told of views.
    """
    left = [part for part in Part if not views_path(place, part).is_file()]
    total = sum(_count(place, part) for part in left)
    done = 0
    for part in left:
        _write(place, part, jobs, lambda written, _, before=done: progress(before + written, total))
        done += _count(place, part)


def _count(place: Place, part: Part) -> int:
    return place.teachers(part).rows.num_rows


def _write(place: Place, part: Part, jobs: int, progress: Progress) -> None:
    path, size, count = views_path(place, part), place.scale.student.view_size, _count(place, part)
    path.parent.mkdir(exist_ok=True)
    progress(0, count)
    with whole_file(path) as partial_path:
        written = np.lib.format.open_memmap(
            partial_path, mode="w+", dtype=np.uint8, shape=(count, 3, size, size)
        )
        done = 0
        for block in _blocks(place, part, range(0, count, _BLOCK_ROWS), jobs):
            written[done : done + len(block)] = block
            done += len(block)
            progress(done, count)
        written.flush()


def _blocks(
    place: Place, part: Part, starts: Iterable[int], jobs: int
) -> Iterator[NDArray[np.uint8]]:
    """Rendered rows from each of `starts` on, in order."""
    if jobs == 1:
        yield from map(partial(_block, place, part), starts)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start) as executor:
        yield from executor.map(partial(_block, place, part), starts)


def _start() -> None:
    torch.set_num_threads(1)


def _block(place: Place, part: Part, start: int) -> NDArray[np.uint8]:
    pictures, labels = place.pictures(part), place.teachers(part)
    policy = labels.description.policy
    assert isinstance(policy, AugmentationPolicy)
    views = labels.index.views()[start : start + _BLOCK_ROWS]
    small = reduced(render(views, pictures, policy), place.scale.student.view_size)
    found: NDArray[np.uint8] = small.mul(_LEVELS).round().to(torch.uint8).numpy()
    return found


def render(views: Views, pictures: Pictures, policy: AugmentationPolicy) -> Tensor:
    """Views as the teacher saw them: float32 in [0, 1], shape (N, 3, height, width)."""
    table = SampleTable(pictures)
    renderer = ViewRenderer(policy, table.sample_ids)
    partners = renderer.partners(views)
    others = None if partners is views else table.images(partners.sample_ids)
    return renderer.render(views, table.images(views.sample_ids), others)


def reduced(views: Tensor, size: int) -> Tensor:
    """Views at `size` pixels a side, which leave out no pixel; within [0, 1] as they were."""
    return functional.interpolate(
        views, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )


def as_input(views: NDArray[np.uint8]) -> Tensor:
    """What a student is given of views: float32 of the same shape, channels last in memory."""
    images = torch.from_numpy(views).float()
    shifted = images.div_(_LEVELS).sub_(_MEAN).div_(_DEVIATION)
    return shifted.contiguous(memory_format=torch.channels_last)
