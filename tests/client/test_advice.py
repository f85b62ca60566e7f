"""Every piece of advice is tried: what causes the error, what its message says, and that it works.

Advice that needs a service or a proxy is tried where those are: in tests/e2e and
tests/client/network.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from labelcast import LabelClient, Representation, Views
from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.codec import LabelKind
from labelcast.identifiers import tag_from
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.network.endpoint import check_address, check_token
from labelcast.registry.client import Registry
from labelcast.torch import SampleTable, soft_label_loss
from labelcast.torch.data.position import Position
from labelcast.torch.device import choose_device
from tests.factories.advice import Case, try_advice
from tests.factories.label_sets import POLICY, make_label_set
from tests.factories.pictures import CLASSES

SAMPLE = 10**12


@dataclass(frozen=True)
class Workshop:
    """What causes and advice are tried on."""

    logits: LabelSetDirectory
    probabilities: LabelSetDirectory
    other: LabelSetDirectory
    directory: Path


class Sized(Dataset[tuple[Tensor, int]]):
    """Images of the sizes given."""

    def __init__(self, *sizes: int) -> None:
        self.sizes, self.class_names = sizes, CLASSES
        self.sample_ids = np.arange(len(sizes), dtype=np.uint64)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(1, self.sizes[index], self.sizes[index]), 0


def images(*sizes: int) -> Tensor:
    table = SampleTable(Sized(*sizes))
    return table.images(table.sample_ids)


def loss(temperature: float) -> Tensor:
    labels = torch.full((2, 3), 1 / 3)
    return soft_label_loss(
        torch.zeros(2, 3),
        labels,
        LabelKind.PROBABILITIES,
        temperature=temperature,
        label_temperature=4.0,
    )


def reachable(address: str) -> str:
    check_address(address)
    return address


def policy(mix: Mix) -> AugmentationPolicy:
    return replace(POLICY, mix=mix, mix_probability=1.0)


def views_of(*arrays: Any) -> Views:
    return Views(*arrays)


def read(workshop: Workshop, form: Representation) -> object:
    return list(workshop.probabilities.stream([Views.of([SAMPLE], 0)], form))


def damaged_copy(workshop: Workshop, content: bytes | None) -> LabelSetDirectory:
    """A copy of a label set whose codec is of other bytes, or missing; None mends it."""
    copy, _ = make_label_set(workshop.directory / "copy")
    path = copy.path(copy.manifest.codec)
    if content is not None:
        path.write_bytes(content.ljust(path.stat().st_size, b"\0") if content else b"")
    return LabelSetDirectory(copy.directory)


UINT64 = np.array([SAMPLE], dtype=np.uint64)
CASES: list[Case[Workshop]] = [
    Case(
        "take cutmix or none",
        lambda _: policy(Mix.MIXUP),
        lambda _: (policy(Mix.CUTMIX), policy(Mix.NONE)),
    ),
    Case(
        "use up to 64 of a-z 0-9 . _ - with one optional colon part, like glyphs:v1",
        lambda _: tag_from("Glyphs: V1"),
        lambda _: (tag_from("glyphs:v1"), tag_from("a-z0.9_")),
    ),
    Case(
        "like labels.example.org:7070, [::1]:7070 or unix:/run/labelcast.sock",
        lambda _: LabelClient("http://127.0.0.1:7070"),
        lambda _: [
            reachable(each)
            for each in ("labels.example.org:7070", "[::1]:7070", "unix:/run/labelcast.sock")
        ],
    ),
    Case(
        "must be like http://127.0.0.1:7071, without credentials or query",
        lambda _: Registry("http://admin:secret@127.0.0.1:7071?x=1"),
        lambda _: Registry("http://127.0.0.1:7071").close(),
    ),
    Case(
        "visible ASCII characters, at least one",
        lambda _: check_token("a token"),
        lambda _: check_token("a-token"),
    ),
    Case(
        "build them with Views.of(sample_ids, seeds)",
        lambda _: views_of(UINT64.astype(np.int64), UINT64),
        lambda _: Views.of(UINT64.astype(np.int64), UINT64 * 0),
    ),
    Case(
        "ask for probabilities",
        lambda at: read(at, Representation.logits()),
        lambda at: read(at, Representation.probabilities(1.0)),
    ),
    Case(
        "give policy=label_set.contract.policy",
        lambda at: at.logits.reader(policy=None),
        lambda at: at.logits.reader(policy=at.logits.contract.policy),
    ),
    Case(
        "take top-k from `stream`",
        lambda at: at.logits.reader(Representation.top_k(2, 1.0)),
        lambda at: list(at.logits.stream([Views.of([SAMPLE], 0)], Representation.top_k(2, 1.0))),
    ),
    Case(
        "give Views.of(sample_ids, seeds)",
        lambda at: at.logits.reader(policy=at.logits.contract.policy)([SAMPLE]),
        lambda at: at.logits.reader(policy=at.logits.contract.policy)(Views.of([SAMPLE], 0)),
    ),
    Case(
        "give views from label_set.views(sample_ids, seeds), or give the reader policy=...",
        lambda at: at.logits.reader()(Views.of([SAMPLE], 0)),
        lambda at: (
            at.logits.reader()(at.logits.views([SAMPLE], 0)),
            at.logits.reader(policy=at.logits.contract.policy)(Views.of([SAMPLE], 0)),
        ),
    ),
    Case(
        "take them from views() of this",
        lambda at: at.logits.reader()(at.other.views([SAMPLE], 0)),
        lambda at: at.logits.reader()(at.logits.views([SAMPLE], 0)),
    ),
    Case("resize them", lambda _: images(4, 5), lambda _: images(5, 5)),
    Case("train at theirs", lambda _: loss(1.0), lambda _: loss(4.0)),
    Case(
        "use 'cpu', 'cuda' or 'auto'",
        lambda _: choose_device("cuda:99"),
        lambda _: (choose_device("cpu"), choose_device("auto")),
    ),
    Case(
        "take next_position of the last batch trained on",
        lambda _: Position(epoch=-1),
        lambda _: Position(epoch=1, row=7),
    ),
    Case(
        "give what as_json returned",
        lambda _: Position.from_json([1, 7]),
        lambda _: Position.from_json(Position(1, 7).as_json()),
    ),
    Case(
        "encode or pull the label set again",
        lambda at: damaged_copy(at, b"").codec(),
        lambda at: damaged_copy(at, None).codec(),
    ),
    Case(
        "is damaged; encode or pull the label set again",
        lambda at: damaged_copy(at, b"damaged").codec(),
        lambda at: damaged_copy(at, None).codec(),
    ),
]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    at = tmp_path_factory.mktemp("workshop")
    return Workshop(
        logits=make_label_set(at / "logits", "vqae")[0],
        probabilities=make_label_set(at / "probabilities", "topk")[0],
        other=make_label_set(at / "other", "vqae", seed=1)[0],
        directory=at,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Workshop], workshop: Workshop) -> None:
    try_advice(case, workshop)
