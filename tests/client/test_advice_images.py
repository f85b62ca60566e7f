"""Advice on the student's images and samples is tried, as in test_advice.py beside this."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from labelcast import UNCHECKED, Representation, Views
from labelcast.canary import Canary
from labelcast.label_set import MissingViews
from labelcast.label_set.fingerprints import FileReading, FingerprintKind
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import (
    ComparedDataset,
    ImageFolder,
    LabelSetSource,
    SampleTable,
    SoftLabelLoader,
)
from labelcast.torch.data.plan import TrainingPlan
from labelcast.torch.data.position import Position
from labelcast.torch.images.rendering import Renderer, choose_renderer
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.factories.advice import Case, try_advice
from tests.factories.label_sets import make_label_set, with_fingerprints
from tests.factories.pictures import Pictures
from tests.factories.unreadable import unreadable
from tests.producers.formats.writers.sre2l import write_sre2l

Made: TypeAlias = tuple[LabelSetDirectory, LabelSetDirectory, LabelSetDirectory]
SAMPLES, FIRST = 300, 10**12
NAMES = [f"class {number}" for number in range(10)]


@dataclass(frozen=True)
class Desk:
    """Label sets of the same samples, and an empty directory of each test's own."""

    labels: LabelSetDirectory
    fingerprinted: LabelSetDirectory
    conditioned: LabelSetDirectory
    directory: Path


class Samples(Dataset[tuple[Tensor, int]]):
    """The data set of `make_label_set`, or one that differs from it."""

    def __init__(
        self, count: int = SAMPLES, *, shift: int = 0, names: Sequence[str] = NAMES
    ) -> None:
        self.sample_ids = FIRST + 7 * np.arange(count, dtype=np.uint64)
        self.hard_labels = (np.arange(count) + shift) % len(names)
        self.class_names = names

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(1, 8, 8), int(self.hard_labels[index])


class Files(Samples):
    """The same out of files, which read as the label set's fingerprints say."""

    def __init__(self, decoding: str = "RGB", *, damaged: int | None = None) -> None:
        super().__init__()
        self.reading = FileReading(decoding, "position")
        self.damaged = damaged

    def read_bytes(self, index: int) -> bytes:
        return b"1000" if index == self.damaged else b"%d" % index

    def decode(self, content: bytes, index: int) -> tuple[Tensor, int]:
        return torch.full((1, 8, 8), float(content)), int(self.hard_labels[index])

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.decode(self.read_bytes(index), index)


def train(label_set: LabelSetDirectory, dataset: Samples, **options: Any) -> int:
    """Batches of an epoch."""
    source = LabelSetSource(label_set, Representation.logits())
    loader = SoftLabelLoader(dataset, source, seeds=[3], batch_size=100, **options)
    return len(list(loader))


def aligned(at: Desk, dataset: Samples, **options: Any) -> int:
    """The same with labels that came without images."""
    return train(at.labels, dataset, fingerprints=UNCHECKED, **options)


def labels_of(files: Files) -> int:
    """Read what labels were made of; the number of images."""
    dataset = ComparedDataset(files, SampleTable(files).fingerprints())
    return len([dataset[number] for number in range(len(dataset))])


def drawn(label_set: LabelSetDirectory, number: int) -> Any:
    """The seed of a stored view of the first sample."""
    views = Views.of([FIRST], number)
    return label_set.resolve(views, missing=MissingViews.DRAW)[0].seeds


def renderer(at: Path, *, with_records: bool) -> Renderer:
    """What renders views that the original scripts recorded."""
    write_sre2l(at / "files", samples=8, epochs=1, batch_size=4, classes=4, view=32)
    labels = Import.open(at / "files", ImportOptions(num_samples=8, view_size=32))
    made = labels.write_label_set(at / f"with-records-{with_records}")
    source = LabelSetSource(made, Representation.logits())
    policy, ids = made.contract.policy, np.arange(8, dtype=np.uint64)
    return choose_renderer(policy, ids, source.view_records if with_records else None)


def resumed(seeds: list[int]) -> int:
    ids = np.arange(5, dtype=np.uint64)
    plan = TrainingPlan(ids, seeds, batch_size=2, start=Position(epoch=2, row=2))
    return len(list(plan))


def numbered(sample_ids: Any) -> SampleTable:
    pictures = Pictures(5)
    pictures.sample_ids = sample_ids
    return SampleTable(pictures)


def pictures(at: Path, *names: str) -> Path:
    """An image folder of small images."""
    pillow = pytest.importorskip("PIL.Image")
    for name in names:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        pillow.new("RGB", (4, 4)).save(at / name)
    return at


def damaged_image(at: Path) -> object:
    root = pictures(at / "images", "a/1.png", "a/2.png")
    (root / "a/1.png").write_bytes(b"damaged")
    return ImageFolder(root)[0]


def replaced_or_removed(at: Path) -> object:
    root = at / "images"
    (root / "a/1.png").unlink()
    assert len(ImageFolder(root)) == 1
    return ImageFolder(pictures(root, "a/1.png"))[0]


def listed(root: Path, *names: str) -> ImageFolder:
    (root / "list.txt").write_text("\n".join(names))
    return ImageFolder(root, image_list=root / "list.txt")


def with_empty_class(at: Path) -> ImageFolder:
    root = pictures(at / "images", "a/1.png")
    (root / "b").mkdir()
    return ImageFolder(root)


def listed_or_without_class(at: Path) -> None:
    root = at / "images"
    assert len(listed(root, "a/1.png")) == 1
    (root / "b").rmdir()
    assert ImageFolder(root).class_names == ("a",)


def two_labels(at: Desk, shown: int) -> None:
    """Labels that all name class 1, of views that all show another, or not."""
    canary = Canary(1.0)
    canary.watch(np.ones(300, np.int64), np.full((2, 300), shown))


def spelled_twice(at: Path) -> ImageFolder:
    """One name in the two forms of Unicode, as it comes from two file systems."""
    names = (unicodedata.normalize(form, "a/é.png") for form in ("NFC", "NFD"))
    return ImageFolder(pictures(at / "images", *names), ids="name")


def renamed_or_by_position(at: Path) -> None:
    root = at / "images"
    assert len(ImageFolder(root, ids="position")) == 2
    (root / unicodedata.normalize("NFD", "a/é.png")).rename(root / "a" / "e.png")
    assert len(ImageFolder(root, ids="name")) == 2


CASES: list[Case[Desk]] = [
    Case(
        "have one sample ID by name; rename one, or take IDs by position",
        lambda at: spelled_twice(at.directory),
        lambda at: renamed_or_by_position(at.directory),
    ),
    Case(
        "are missing). Check data set and sample IDs",
        lambda at: train(
            at.labels, Samples(SAMPLES + 2), sample_ids=Samples(SAMPLES + 2).sample_ids[5:]
        ),
        lambda at: aligned(at, Samples(), sample_ids=Samples().sample_ids[5:]),
    ),
    Case(
        "check data set, sample IDs and class order",
        lambda at: train(at.conditioned, Samples(shift=1), fingerprints=UNCHECKED),
        lambda at: train(at.conditioned, Samples(), fingerprints=UNCHECKED),
    ),
    Case(
        "remove or restore the classes that differ",
        lambda at: aligned(at, Samples(names=[*NAMES, "class 10"])),
        lambda at: aligned(at, Samples()),
    ),
    Case(
        "give class_names as the teacher's data set had them",
        lambda at: aligned(at, Samples(names=NAMES[::-1])),
        lambda at: aligned(at, Samples(names=NAMES)),
    ),
    Case(
        "Restore what was added, removed or renamed since the labels were made; name a part that is"
        " meant with sample_ids=",
        lambda at: aligned(at, Samples(40)),
        lambda at: (
            aligned(at, Samples()),
            aligned(at, Samples(40), sample_ids=Samples(40).sample_ids),
        ),
    ),
    Case(
        "give a label source that has their records (LabelSetSource)",
        lambda at: renderer(at.directory, with_records=False),
        lambda at: renderer(at.directory, with_records=True),
    ),
    Case(
        "The labels do not belong to these views: check data set, sample IDs, class order and"
        " policy",
        lambda at: two_labels(at, 2),
        lambda at: two_labels(at, 1),
    ),
    Case(
        "Restore the images that the teacher saw, under their names; or make labels of these",
        lambda at: train(at.fingerprinted, Files(damaged=7)),
        lambda at: (
            train(at.fingerprinted, Files()),
            labels_of(Files(damaged=7)),
        ),
    ),
    Case(
        "give it read_bytes and decode (see labelcast.torch.FileDataset), or leave images"
        " uncompared with fingerprints=UNCHECKED",
        lambda at: train(at.fingerprinted, Samples()),
        lambda at: (
            train(at.fingerprinted, Files()),
            train(at.fingerprinted, Samples(), fingerprints=UNCHECKED),
        ),
    ),
    Case(
        "give it the same size and channels",
        lambda at: train(at.fingerprinted, Files("L, 4 × 4")),
        lambda at: train(at.fingerprinted, Files("RGB")),
    ),
    Case(
        "give every item its own, such as np.arange(len(dataset), dtype=np.uint64)",
        lambda _: numbered([1, 1, 2, 3, 4]),
        lambda _: numbered(np.arange(5, dtype=np.uint64)),
    ),
    Case(
        "give the full list of seeds of the run, not the remaining ones",
        lambda _: resumed([2]),
        lambda _: resumed([0, 1, 2]),
    ),
    Case(
        "ask only for views that were labelled, or draw a stored one (`resolve`)",
        lambda at: at.labels.labels([FIRST], 1),
        lambda at: (
            at.labels.labels([FIRST], 3),
            at.labels.labels([FIRST], drawn(at.labels, 1)),
        ),
    ),
    Case(
        "cannot be read as an image: no image of a known format; replace or remove it",
        lambda at: damaged_image(at.directory),
        lambda at: replaced_or_removed(at.directory),
    ),
    Case(
        "name a directory of class directories that you may read",
        lambda at: ImageFolder(at.directory / "absent"),
        lambda at: ImageFolder(pictures(at.directory, "a/1.png")),
    ),
    Case(
        "remove it, or list the images in a file",
        lambda at: with_empty_class(at.directory),
        lambda at: listed_or_without_class(at.directory),
    ),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    at = tmp_path_factory.mktemp("made")
    plain, other = (make_label_set(at / name, num_samples=SAMPLES)[0] for name in ("a", "b"))
    conditioned, _ = make_label_set(at / "c", "vqae-context", num_samples=SAMPLES)
    return plain, with_fingerprints(other, FingerprintKind.FILES), conditioned


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Desk], made: Made, tmp_path: Path) -> None:
    try_advice(case, Desk(*made, tmp_path))


def test_a_class_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = pictures(tmp_path / "images", "a/1.png", "b/2.png")

    def hidden(_: Path) -> ImageFolder:
        with monkeypatch.context() as odd:
            unreadable(odd, root / "b")
            return ImageFolder(root)

    def listed_or_readable(_: Path) -> None:
        with monkeypatch.context() as odd:
            unreadable(odd, root / "b")
            assert len(listed(root, "a/1.png", "b/2.png")) == 2
        assert len(ImageFolder(root)) == 2

    says = "make it readable, or list the images in a file"
    try_advice(Case(says, hidden, listed_or_readable), tmp_path)
