"""Python callers get every check that the command has."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import SampleOrder
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions, PermutationDraws
from tests.producers.formats.truth_checks import names
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.distilled_sets import write_pdd
from tests.producers.formats.writers.distillkit import EXACT, write_distillkit
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.producer_pixels import folder_sizes, write_image_folder
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.tinyvit import write_tinyvit

SAMPLES, CLASSES, VIEW = 40, 4, 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    paths, _ = write_image_folder(root / "images", samples=SAMPLES, classes=CLASSES)
    write_sre2l(
        root / "files",
        samples=SAMPLES,
        epochs=3,
        batch_size=9,
        classes=CLASSES,
        view=VIEW,
        mix="none",
        order="old",
        sizes=folder_sizes(paths),
    )
    return root


def opened(made: Path, draws: PermutationDraws, **options: Any) -> Import:
    usual: dict[str, Any] = {"images": made / "images", "view_size": VIEW}
    return Import.open(made / "files", ImportOptions(**usual | options, draws=draws))


@pytest.mark.parametrize("dense", [True, False])
def test_a_wrong_order_of_samples_is_refused(made: Path, tmp_path: Path, dense: bool) -> None:
    def write(labels: Import, out: Path) -> None:
        if dense:
            labels.write_dense(out)
        else:
            labels.write_label_set(out, codec="raw:fp16")

    right = opened(made, PermutationDraws.ONE)
    with warnings.catch_warnings(action="error"):
        write(right, tmp_path / "right")
    assert right.warnings == ()
    wrong = opened(made, PermutationDraws.TWO)
    with pytest.raises(InvalidRequestError, match="give --draws one"):
        write(wrong, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_an_order_that_nobody_verified_is_said(made: Path) -> None:
    for draws in PermutationDraws:
        labels = opened(made, draws)
        assert labels.describe().sample_order is SampleOrder.UNVERIFIED
        assert any("no teacher confirmed" in note for note in labels.notes)
        assert not any("per side" in note for note in labels.notes)
    blind: dict[str, Any] = {"images": None, "num_samples": SAMPLES, "view_size": None}
    assumed = opened(made, PermutationDraws.TWO, **blind)
    assert any("assumed to be 224 pixels per side" in note for note in assumed.notes)


class Stranger(nn.Module):
    """Says the same of every image."""

    def forward(self, images: Any) -> Any:
        return images.new_zeros(len(images), CLASSES)


@pytest.mark.parametrize("draws", PermutationDraws)
def test_an_order_that_the_teacher_does_not_confirm_stays_unverified(
    made: Path, draws: PermutationDraws
) -> None:
    labels = opened(made, draws)
    with pytest.raises(LabelFileError, match="confirms no order"):
        labels.verify(Stranger(), device="cpu")
    assert labels.verification is None
    assert labels.facts.order is SampleOrder.UNVERIFIED
    blind = opened(made, draws, images=None, num_samples=SAMPLES)
    with pytest.raises(InvalidRequestError, match="needs --images"):
        blind.verify(Stranger())


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": math.nan},
        {"temperature": 0.0},
        {"temperature": math.inf},
        {"num_samples": 0},
        {"sampler_seed": -1},
        {"sampler_seed": 2**63},
        {"view_size": 0},
        {"draws": "three"},
    ],
)
def test_impossible_options_are_refused(options: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match="must be"):
        ImportOptions(**options)


@pytest.mark.parametrize("name", ["sre2l", "fkd", "ml-dr", "tinyvit", "distillkit", "pdd", "npy"])
def test_a_scan_shows_its_progress(tmp_path: Path, name: str) -> None:
    files, options, count = tmp_path / "files", ImportOptions(), 1
    match name:
        case "sre2l":
            write_sre2l(files, samples=6, epochs=2, batch_size=2, classes=5)
            count = 6
        case "fkd":
            write_fkd(files, samples=6, epochs=2, classes=5, label_type="full")
            count = 6
        case "ml-dr":
            write_apple_dr(files, samples=6, epochs=2, classes=5)
            options, count = ImportOptions(class_names=names(5), recovery=Recovery.SPREAD), 6
        case "tinyvit":
            write_tinyvit(files, samples=6, epochs=2, classes=5)
            options, count = ImportOptions(class_names=names(5)), 2
        case "distillkit":
            write_distillkit(files, EXACT, lengths=[3, 4, 2], per_file=1)
            options, count = ImportOptions(recovery=Recovery.RENORMALISE), 3
        case "pdd":
            write_pdd(files, classes=3, stages=3)
            count = 3
        case "npy":
            files = tmp_path / "labels.npy"
            np.save(files, np.random.default_rng(0).normal(0, 3, (6, 5)).astype(np.float32))
    seen: list[tuple[int, int]] = []
    Import.open(files, options, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (count, count)
    assert seen == sorted(seen)
