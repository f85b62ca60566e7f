"""Advice on command lines: what causes each message, and that what it says works.

Advice on --show, --setting, --dataset and --images is tried in ../test_advice.py, on --sweep in
../fitting/test_advice.py, and on targets of a fit in test_produce.py.
"""

import json
import re
from pathlib import Path

import pytest

from labelcast.augmentation import AugmentationPolicy
from labelcast.cli.app import app
from tests.factories.advice import Case, try_advice
from tests.factories.label_sets import make_label_set

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
    return command(
        *("relabel", "--teacher", "tests.factories.relabelling:SmallTeacher", "--seeds", 1),
        *("--dataset", "tests.factories.pictures:Pictures", "--out", at / "out", "--fresh"),
        *("--device", "cpu", "--quiet", *words),
    )


def policy(at: Path) -> Path:
    (at / "policy.json").write_text(
        json.dumps(AugmentationPolicy(view_height=6, view_width=6).as_json())
    )
    return at / "policy.json"


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
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.says)[:50])
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)
