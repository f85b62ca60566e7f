"""A teacher decides whether derived sample IDs are right, and is not fooled."""

import copy
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from labelcast.augmentation import Mix, RecordedPolicy, RecordedViews
from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set import GridIndex, RowOrder, SampleOrder
from labelcast.torch.images.image_folder import ImageFolder
from labelcast.torch.images.samples import SampleTable
from labelcast_producers.formats import verification
from labelcast_producers.formats.source import Part, PermutationDraws, Source, SourceFacts, TopK
from labelcast_producers.formats.verification import MOST_ERROR, verify_order
from tests.producers.formats.writers.batches import Batch, Plan
from tests.producers.formats.writers.batches import Mix as MixName
from tests.producers.formats.writers.producer_pixels import (
    cutmix_batch,
    folder_sizes,
    mixup_batch,
    render_view,
    write_image_folder,
)
from tests.producers.formats.writers.views import Order, epoch_orders

SAMPLES, CLASSES, EPOCHS, BATCH, VIEW = 40, 5, 3, 12, 48
ONE, TWO = PermutationDraws.ONE, PermutationDraws.TWO
ORDERS: dict[PermutationDraws, Order] = {ONE: "old", TWO: "current"}

Views = list[tuple[Batch, Tensor]]


class Teacher(nn.Module):
    """A CNN that sees shapes and colours; it normalises its input itself."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 16, 5, stride=2, padding=2),
                nn.BatchNorm2d(16),
                nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1),
                nn.BatchNorm2d(32),
                nn.ReLU(),
                nn.AdaptiveAvgPool2d(3),
                nn.Flatten(),
                nn.Dropout(0.5),
                nn.Linear(288, CLASSES),
            )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers((images - 0.45) / 0.22)
        return logits


def trained(teacher: Teacher, images: Tensor, labels: Tensor, steps: int = 60) -> Teacher:
    optimiser = torch.optim.Adam(teacher.parameters(), 3e-3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(steps):
            loss = nn.functional.cross_entropy(teacher(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return teacher.eval()


class Files:
    """Images, a teacher trained on them, and the views that a producer rendered with Pillow."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths, self.labels = write_image_folder(root, samples=SAMPLES, classes=CLASSES)
        self.table = SampleTable(ImageFolder(root))
        images = torch.stack([self.view(at, (0, 0, 1, 1), False) for at in range(SAMPLES)])
        self.teacher = trained(Teacher(1), images, torch.tensor(self.labels))
        self.stranger = trained(Teacher(2), images, torch.tensor(self.labels))

    def view(self, sample: int, coords: Sequence[float], flip: bool) -> Tensor:
        with Image.open(self.paths[sample]) as image:
            return render_view(image.convert("RGB"), coords, flip, VIEW)

    @functools.cache  # noqa: B019
    def views(self, order: Order, mix: MixName) -> Views:
        plan = Plan(
            samples=SAMPLES,
            epochs=EPOCHS,
            batch_size=BATCH,
            classes=CLASSES,
            mix=mix,
            order=order,
            sizes=folder_sizes(self.paths),
            view=VIEW,
        )
        return [(batch, self._pixels(batch)) for batch in plan.batches()]

    def _pixels(self, batch: Batch) -> Tensor:
        drawn = zip(batch.sample_ids, batch.coords.tolist(), batch.flip.tolist(), strict=True)
        views = torch.stack([self.view(*each) for each in drawn])
        if batch.mix_index is None or batch.lam is None:
            return views
        if batch.box is None:
            return mixup_batch(views, batch.mix_index, batch.lam)
        return cutmix_batch(views, batch.mix_index, [int(edge) for edge in batch.box])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("images") / "root")


class StoredBatches(Source):
    """What an importer makes of batches if it takes the sampler's order to be `order`."""

    def __init__(
        self,
        views: Views,
        labels: Callable[[Tensor], Tensor],
        order: Order,
        *,
        kind: LabelKind = LabelKind.LOGITS,
        temperature: float | None = None,
        top_k: TopK | None = None,
    ) -> None:
        mix = Mix.NONE if views[0][0].lam is None else Mix.CUTMIX
        if views[0][0].lam is not None and views[0][0].box is None:
            mix = Mix.MIXUP
        policy = RecordedPolicy(view_height=VIEW, view_width=VIEW, mix=mix)
        epochs = views[-1][0].epoch + 1
        index = GridIndex(
            np.arange(SAMPLES, dtype=np.uint64),
            np.arange(epochs, dtype=np.uint32),
            RowOrder.SEED_MAJOR,
        )
        self.facts = SourceFacts(
            format="test",
            num_classes=CLASSES,
            label_kind=kind,
            temperature=temperature,
            top_k=top_k,
            index=index,
            hard_labels=None,
            policy=policy,
            order=SampleOrder.UNVERIFIED,
        )
        every = index.views()
        self._records = RecordedViews.plain(every.sample_ids, every.seeds, policy)
        self._labels: dict[Path, NDArray[Any]] = {}
        self.read_paths: list[Path] = []
        orders, parts = epoch_orders(SAMPLES, epochs, order), []
        for batch, pixels in views:
            first = batch.number * BATCH
            ids = np.array(orders[batch.epoch][first : first + len(pixels)])
            part = Part(Path(f"epoch_{batch.epoch}/{batch.number}"), batch.epoch * SAMPLES + ids)
            parts.append(part)
            self._record(batch, part.rows, ids)
            with torch.no_grad():
                self._labels[part.path] = labels(pixels).numpy()
        self.parts = parts

    def _record(self, batch: Batch, rows: NDArray[np.int64], ids: NDArray[np.int64]) -> None:
        self._records.crop[rows] = batch.coords.numpy()
        self._records.flip[rows] = batch.flip.numpy()
        if batch.mix_index is not None:
            self._records.partner_sample_ids[rows] = ids[batch.mix_index.numpy()]
            self._records.lam[rows] = batch.lam
        if batch.box is not None:
            self._records.box[rows] = [int(edge) for edge in batch.box]

    def records(self) -> RecordedViews:
        return self._records

    def read(self, part: Part) -> NDArray[Any]:
        self.read_paths.append(part.path)
        return self._labels[part.path]


def half_logits(teacher: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda pixels: teacher(pixels).half()


def sources(
    files: Files, written: PermutationDraws, mix: MixName = "cutmix", **options: Any
) -> dict[PermutationDraws, Source]:
    labels = options.pop("labels", half_logits(files.teacher))
    views = files.views(ORDERS[written], mix)
    return {
        draws: StoredBatches(views, labels, order, **options) for draws, order in ORDERS.items()
    }


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
@pytest.mark.parametrize("written", [ONE, TWO])
def test_auto_finds_the_order_that_files_were_written_in(
    files: Files, written: PermutationDraws, mix: MixName
) -> None:
    candidates = sources(files, written, mix)
    found = verify_order(candidates, files.teacher, files.table, device="cpu")
    assert found.draws is written
    assert list(candidates)[found.position] is written
    assert found.agreement >= 0.95
    assert found.median_error < MOST_ERROR / 2
    assert found.views >= 48
    right = candidates[written]
    assert verify_order({written: right}, files.teacher, files.table).draws is written
    assert verify_order([right], files.teacher, files.table).draws is PermutationDraws.AUTO


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
def test_the_wrong_order_is_refused(files: Files, mix: MixName) -> None:
    wrong = sources(files, ONE, mix)[TWO]
    with pytest.raises(LabelFileError, match=r"confirms no order.*--draws two: top-1 agreement"):
        verify_order({TWO: wrong}, files.teacher, files.table, device="cpu")


def test_an_order_is_not_confirmed_beside_one_that_may_be_right_too(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "LEAST_RIVAL_ERROR", 3.0)
    with pytest.raises(LabelFileError, match="cannot tell the orders apart"):
        verify_order(sources(files, TWO), files.teacher, files.table, device="cpu")


def test_only_some_files_are_read_and_the_first_epoch_decides_nothing(files: Files) -> None:
    source = StoredBatches(files.views("current", "cutmix"), half_logits(files.teacher), "current")
    verify_order([source], files.teacher, files.table, views=8, device="cpu")
    epochs = {path.parent.name for path in source.read_paths}
    assert epochs == {"epoch_1", "epoch_2"}
    assert len(source.read_paths) == len(set(source.read_paths))


def test_where_both_orders_say_the_same_the_first_stands_for_both(files: Files) -> None:
    views = [each for each in files.views("current", "cutmix") if each[0].epoch == 0]
    labels = half_logits(files.teacher)
    candidates: dict[PermutationDraws, Source] = {
        draws: StoredBatches(views, labels, order) for draws, order in ORDERS.items()
    }
    assert verify_order(candidates, files.teacher, files.table, device="cpu").draws is ONE


def other_list(files: Files, tmp_path: Path, order: Sequence[int]) -> SampleTable:
    names = ImageFolder(files.root).paths
    listing = tmp_path / "images.txt"
    listing.write_text("\n".join(names[at] for at in order))
    return SampleTable(ImageFolder(files.root, image_list=listing))


@pytest.mark.parametrize("within_classes", [False, True])
def test_a_shuffled_image_list_is_refused(
    files: Files, tmp_path: Path, within_classes: bool
) -> None:
    order = np.random.default_rng(3).permutation(SAMPLES)
    if within_classes:
        order = order[np.argsort(order // (SAMPLES // CLASSES), kind="stable")]
    table = other_list(files, tmp_path, order.tolist())
    with pytest.raises(LabelFileError, match=r"draws one: .*; --draws two: .*--image-list"):
        verify_order(sources(files, TWO), files.teacher, table, device="cpu")


def test_images_that_are_missing_are_named(files: Files, tmp_path: Path) -> None:
    table = other_list(files, tmp_path, range(SAMPLES - 20))
    with pytest.raises(LabelFileError, match="none of the 20 images"):
        verify_order(sources(files, TWO), files.teacher, table, device="cpu")


class Shifted(nn.Module):
    """The right teacher behind another normalisation."""

    def __init__(self, teacher: nn.Module) -> None:
        super().__init__()
        self.teacher = teacher

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.teacher(images.flip(1) / 0.5 - 0.45)
        return logits


def test_another_teacher_or_normalisation_is_refused(files: Files) -> None:
    for teacher in (files.stranger, Shifted(files.teacher)):
        with pytest.raises(LabelFileError, match="normalising its input"):
            verify_order(sources(files, TWO), teacher, files.table, device="cpu")


class Wrapping(nn.Module):
    """The right teacher, whose logits are one of two tensors, behind a softmax or in half."""

    def __init__(self, teacher: nn.Module, *, ends_in_softmax: bool = False) -> None:
        super().__init__()
        self.teacher, self.ends_in_softmax = copy.deepcopy(teacher), ends_in_softmax

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits: Tensor = self.teacher(images)
        return images.flatten(1), logits.softmax(dim=1) if self.ends_in_softmax else logits


def test_teachers_as_they_are(files: Files) -> None:
    def verified(teacher: nn.Module, **says: Any) -> bool:
        two = sources(files, TWO)
        return verify_order(two, teacher, files.table, device="cpu", **says).draws is TWO

    right, softened = Wrapping(files.teacher), Wrapping(files.teacher, ends_in_softmax=True)
    assert verified(right, output="1")
    assert verified(softened, output="1", from_probabilities=True)
    with pytest.raises(InvalidRequestError, match="name one with --teacher-output"):
        verified(right)
    with pytest.raises(LabelValueError, match="say --from-probabilities"):
        verified(softened, output="1")
    with pytest.raises(InvalidRequestError, match="size and channels that it was trained on"):
        verified(nn.Linear(7, 2))
    assert verified(right.half(), output="1")


class Constant(nn.Module):
    """Says the same of every image, but for a little."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise

    def forward(self, images: Tensor) -> Tensor:
        logits = torch.linspace(0, 50, CLASSES).repeat(len(images), 1)
        return logits + self.noise * torch.randn(logits.shape)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_a_teacher_says_of_every_image_is_no_agreement(files: Files, noise: float) -> None:
    teacher = Constant(noise)
    candidates = sources(files, TWO, labels=half_logits(teacher))
    with pytest.raises(LabelFileError, match="confirms no order"):
        verify_order(candidates, teacher, files.table, device="cpu")


@pytest.mark.parametrize("temperature", [1.0, 20.0])
@pytest.mark.parametrize("written", [ONE, TWO])
def test_probabilities_are_compared_at_their_temperature(
    files: Files, written: PermutationDraws, temperature: float
) -> None:
    candidates = sources(
        files,
        written,
        labels=lambda pixels: (files.teacher(pixels) / temperature).softmax(1).half(),
        kind=LabelKind.PROBABILITIES,
        temperature=temperature,
    )
    found = verify_order(candidates, files.teacher, files.table, device="cpu")
    assert found.draws is written
    wrong = {draws: each for draws, each in candidates.items() if draws is not written}
    for teacher, left in ((files.teacher, wrong), (files.stranger, candidates)):
        with pytest.raises(LabelFileError, match="confirms no order"):
            verify_order(left, teacher, files.table, device="cpu")


def top_logits(teacher: nn.Module, pixels: Tensor) -> Tensor:
    values, classes = teacher(pixels).topk(3)
    return torch.full((len(pixels), CLASSES), -32768.0).scatter(1, classes, values)


def test_top_k_labels_are_compared_on_the_classes_that_they_keep(files: Files) -> None:
    candidates = sources(
        files,
        TWO,
        labels=functools.partial(top_logits, files.teacher),
        top_k=TopK(3, Recovery.RENORMALISE),
    )
    assert verify_order(candidates, files.teacher, files.table, device="cpu").draws is TWO
    single = sources(files, TWO, top_k=TopK(1, Recovery.RENORMALISE))
    with pytest.raises(InvalidRequestError, match="too little"):
        verify_order(single, files.teacher, files.table, device="cpu")


def test_modes_and_arguments(files: Files) -> None:
    candidates, layers = sources(files, TWO), files.teacher.layers
    layers.train()
    layers[1].eval()
    try:
        verify_order(candidates, files.teacher, files.table, device="cpu")
        assert layers.training
        assert not layers[1].training
    finally:
        files.teacher.eval()
    with pytest.raises(InvalidRequestError, match="needs a source"):
        verify_order({}, files.teacher, files.table)
    with pytest.raises(InvalidRequestError, match="not a torch module"):
        verify_order(candidates, lambda images: images, files.table)  # type: ignore[arg-type]
    narrow = nn.Sequential(nn.Flatten(), nn.LazyLinear(2), nn.LayerNorm(2))
    with pytest.raises(LabelFileError, match="gives 2 classes"):
        verify_order(candidates, narrow, files.table)
