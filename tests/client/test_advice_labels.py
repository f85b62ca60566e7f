"""Advice on reading labels and on training is tried, as in test_advice.py beside this."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import Dataset

import labelcast
from labelcast import Representation, Views
from labelcast.codec import CodecHeader, LabelKind, Precision
from labelcast.label_set import Expectation, Manifest, class_list_digest, from_canonical
from labelcast.label_set.canonical_json import to_canonical
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.opening.numpy_forms import present
from labelcast.torch import (
    ImageFolder,
    LabelSetSource,
    Position,
    SampleTable,
    SoftLabelLoader,
    TrainingPlan,
)
from tests.factories.advice import Case, try_advice
from tests.factories.label_sets import make_label_set
from tests.factories.pictures import CLASSES, Pictures

SAMPLE = 10**12
VIEWS = Views.of([SAMPLE, SAMPLE + 7], 0)
CODES = Representation.codes()


@dataclass(frozen=True)
class Bench:
    """A label set, and an empty directory of each test's own."""

    labels: LabelSetDirectory
    directory: Path


def anything(value: object) -> Any:
    """What a caller without a type checker passes."""
    return value


def manifest_of(bench: Bench, change: dict[str, object]) -> Manifest:
    content = from_canonical(bench.labels.manifest.to_bytes(), "a manifest", max_bytes=2**20)
    return Manifest.from_bytes(to_canonical(content | change))


def parts(bench: Bench, name: str) -> object:
    ref = bench.labels.manifest.codec.as_json()
    return manifest_of(bench, {"parts": {name: ref}})


def presented(form: Representation) -> object:
    header = CodecHeader(2, LabelKind.LOGITS, None)
    return present(np.array([[1e6, 0.0]], np.float32), form, header)


def plan(start: Position) -> int:
    ids = np.arange(5, dtype=np.uint64)
    return len(list(TrainingPlan(ids, [0, 1], batch_size=2, start=start)))


def folder(at: Path, *, link_to: str | None = None, remove: bool = False) -> ImageFolder:
    """An image folder, with a link that leads to `link_to`, or whose link is removed."""
    pillow = pytest.importorskip("PIL.Image")
    (at / "cat").mkdir(exist_ok=True)
    pillow.new("RGB", (4, 4)).save(at / "cat" / "a.png")
    link = at / "dog"
    link.unlink(missing_ok=True)
    if not remove:
        link.symlink_to(link_to or at / "unmounted")
    return ImageFolder(at)


def loader(**options: Any) -> int:
    return len(list(SoftLabelLoader(Pictures(), None, seeds=[0], batch_size=4, **options)))


class Bare(Dataset[Any]):
    """A data set that lacks what labels need."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return Pictures()[index]


class Complete(Bare):
    """The same with what the message names."""

    sample_ids, class_names = np.array([7], np.uint64), CLASSES


CASES: list[Case[Bench]] = [
    Case(
        "give Expectation(dataset=digest) and the like",
        lambda at: at.labels.contract.require(anything({"num_classes": 10})),
        lambda at: at.labels.contract.require(Expectation(dataset=at.labels.contract.dataset)),
    ),
    Case(
        "give str(name)",
        lambda _: class_list_digest(anything([0, 1])),
        lambda _: class_list_digest([str(name) for name in (0, 1)]),
    ),
    Case(
        "use up to 64 of a-z 0-9 _",
        lambda at: parts(at, "My-Part"),
        lambda at: (parts(at, "my_part_2"), parts(at, "p" * 64)),
    ),
    Case(
        "ask for fp32",
        lambda _: presented(Representation.logits()),
        lambda _: presented(Representation.logits(Precision.FP32)),
    ),
    Case(
        "open it first, with client.open(tag) or labelcast.open(directory)",
        lambda _: LabelSetSource(anything("glyphs:v1"), CODES),
        lambda at: LabelSetSource(labelcast.open(at.labels.directory), CODES),
    ),
    Case(
        "give Representation.codes(), logits(), probabilities(temperature) or"
        " top_k(k, temperature)",
        lambda at: list(at.labels.stream([VIEWS], anything("logits"))),
        lambda at: [
            list(at.labels.stream([VIEWS], form))
            for form in (
                CODES,
                Representation.logits(),
                Representation.probabilities(2.0),
                Representation.top_k(2, 2.0),
            )
        ],
    ),
    Case(
        "decode them with label_set.decoder().decode(rows, views)",
        lambda _: CODES.dtype,
        lambda at: [
            at.labels.decoder().decode(each.rows, each.views)
            for each in at.labels.stream([VIEWS], CODES)
        ],
    ),
    Case(
        "give views.batches(size)",
        lambda at: list(at.labels.stream(anything(VIEWS), CODES)),
        lambda at: list(at.labels.stream(VIEWS.batches(1), CODES)),
    ),
    Case(
        "give sample_ids=views.sample_ids and seeds=views.seeds",
        lambda at: at.labels.labels(anything(VIEWS), 0),
        lambda at: at.labels.labels(sample_ids=VIEWS.sample_ids, seeds=VIEWS.seeds),
    ),
    Case(
        "to resume after it, start at Position(1, 0)",
        lambda _: plan(Position(0, 5)),
        lambda _: plan(Position(1, 0)),
    ),
    Case(
        "mend or remove it",
        lambda at: folder(at.directory),
        lambda at: (
            folder(at.directory, link_to="cat"),
            folder(at.directory, remove=True),
        ),
    ),
    Case(
        "needs the attributes sample_ids and class_names, and items (image, hard label): see"
        " labelcast.torch.SampleDataset",
        lambda _: SampleTable(Bare()),
        lambda _: SampleTable(Complete()),
    ),
    Case(
        "give policy=, which is None for samples as they are",
        lambda _: loader(),
        lambda at: (
            loader(policy=None),
            loader(policy=at.labels.contract.policy),
        ),
    ),
]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    return make_label_set(tmp_path_factory.mktemp("labels"), "vqae")[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Bench], labels: LabelSetDirectory, tmp_path: Path) -> None:
    try_advice(case, Bench(labels, tmp_path))
