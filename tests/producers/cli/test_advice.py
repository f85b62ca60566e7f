"""Advice on command lines: what causes each message, and that what it says works.

Advice on --show, --setting, --dataset and --images is tried in ../test_advice.py, on --sweep in
../fitting/test_advice.py, and on targets of a fit in test_produce.py.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from torch import Tensor, nn

from labelcast.augmentation import AugmentationPolicy
from labelcast.cli.app import app
from tests.factories.advice import Case, try_advice
from tests.factories.label_sets import make_label_set
from tests.producers.formats.stored_files import edit
from tests.producers.formats.writers.sre2l import write_sre2l

COLOURS = 12
TEACHER = "tests.factories.relabelling:SmallTeacher"
RELABEL = ("relabel", "--dataset", "tests.factories.pictures:Pictures", "--fresh", "--quiet")

FORMS = ("fp16", "fp32", "top-k:10", "top-k:10:16:10", "codes:8:256", "hard")


def command(*words: object) -> object:
    return app([*map(str, words)], standalone_mode=False)


def budget(*words: object) -> object:
    return command("budget", "--json", *words)


def measured(at: Path, *words: object) -> object:
    make_label_set(at / "set", num_samples=4, num_seeds=1)
    return budget("--label-set", at / "set", *words)


def relabel(at: Path, *words: object) -> object:
    """Of a few small pictures, once."""
    return command(*RELABEL, "--teacher", TEACHER, "--out", at / "out", "--seeds", 1, *words)


def policy(at: Path) -> Path:
    (at / "policy.json").write_text(
        json.dumps(AugmentationPolicy(view_height=6, view_width=6).as_json())
    )
    return at / "policy.json"


class ColourTeacher(nn.Module):
    """Knows pictures of one colour, whatever is cropped."""

    def __init__(self, scale: float = 0.0) -> None:
        super().__init__()
        weights = torch.randn(3, COLOURS, generator=torch.Generator().manual_seed(0))
        self.weights = nn.Parameter(scale * weights)

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3)) @ self.weights


def write_coloured(at: Path) -> None:
    """Images of one colour each, and SRe2L's files of what the teacher says of them."""
    colours = np.random.default_rng(4).integers(256, size=(COLOURS, 3), dtype=np.uint8)
    for number, colour in enumerate(colours):
        (at / "images" / f"class {number:02d}").mkdir(parents=True)
        picture = Image.fromarray(np.broadcast_to(colour, (40, 40, 3)))
        picture.save(at / "images" / f"class {number:02d}" / "0.png")
    truth = write_sre2l(
        at / "files", samples=COLOURS, epochs=2, batch_size=4, classes=COLOURS, view=32, mix="none"
    )
    with torch.no_grad():
        pixels = torch.from_numpy(colours)[:, :, None, None] / 255
        logits = ColourTeacher(20.0)(pixels).half()

    def relabelled(record: list[Any]) -> None:
        made_up = record[5].numpy()
        rows = [int((truth.labels == row).all(axis=1).argmax()) for row in made_up]
        record[5] = logits[truth.sample_ids[rows].astype(np.int64)]

    for file in (at / "files").glob("epoch_*/*.tar"):
        edit(file, relabelled)


def verified(at: Path, *words: str) -> object:
    if not (at / "files").exists():
        write_coloured(at)
    return command(
        *("import", at / "files", "--images", at / "images", "--view-size", 32, "--quiet"),
        *("--draws", "two", "--out", at / "out", "--verify-args", '{"scale": 20}', *words),
    )


CASES: list[Case[Path]] = [
    Case(
        "use fp16, fp32, top-k:K, top-k:K:VALUE_BITS:INDEX_BITS, codes:M:K or hard",
        lambda _: budget("--label", "fp8"),
        lambda _: [budget("--label", form) for form in FORMS],
    ),
    Case(
        "use bytes, or HEIGHTxWIDTHxCHANNELSxBITS",
        lambda _: budget("--setting", "sre2l", "--sample-bytes", "32x32"),
        lambda _: [
            budget("--setting", "sre2l", "--sample-bytes", size) for size in ("3072", "32x32x3x8")
        ],
    ),
    Case(
        "leave out --views, --classes",
        lambda at: measured(at, "--views", 300, "--classes", 10),
        measured,
    ),
    Case(
        "--recipe and --policy both say how views are made: give one",
        lambda at: relabel(at, "--recipe", "rded", "--policy", policy(at)),
        lambda at: (relabel(at, "--recipe", "rded"), relabel(at, "--policy", policy(at))),
    ),
    Case(
        "--flip, --view-size change a recipe: name one with --recipe",
        lambda at: relabel(at, "--flip", 0, "--view-size", 6),
        lambda at: relabel(at, "--flip", 0, "--view-size", 6, "--recipe", "rded"),
    ),
    Case(
        "--verify-args needs --verify-with: give that too",
        verified,
        lambda at: verified(at, "--verify-with", "tests.producers.cli.test_advice:ColourTeacher"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)


@pytest.mark.parametrize(
    ("words", "says", "advice"),
    [
        (["--teacher", TEACHER, "--seeds", 1], "give --out", [["--out", "out"]]),
        (["--out", "out", "--seeds", 1], "give --teacher", [["--teacher", TEACHER]]),
        (
            ["--out", "out", "--teacher", TEACHER],
            "give --seeds, or a --recipe that says how many",
            [["--seeds", 1], ["--recipe", "rded", "--prune", 40]],
        ),
    ],
)
def test_what_relabel_cannot_do_without(
    words: list[object],
    says: str,
    advice: list[list[object]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.BadParameter, match=says):
        command(*RELABEL, *words)
    for more in advice:
        command(*RELABEL, *words, *more)
