"""The papers' numbers, and which views a pruned recipe keeps."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.augmentation import Mix
from labelcast.augmentation.seeded.batches import sample_order
from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from labelcast.errors import InvalidRequestError, LabelFileError, ManifestError
from labelcast.torch.losses import Loss
from labelcast_producers.relabel.recipes import RECIPES, Recipe

FACTS = {
    "sre2l": {"crop_scale": (0.08, 1.0), "batch_size": 1024, "mix": Mix.CUTMIX},
    "cda": {"crop_scale": (0.08, 1.0), "batch_size": 128, "mix": Mix.CUTMIX},
    "rded": {"crop_scale": (0.5, 1.0), "batch_size": 100, "patch_grid": 2, "mix": Mix.CUTMIX},
    "lpld": {"crop_scale": (0.08, 1.0), "batch_size": 128, "prune": 40.0, "mix": Mix.CUTMIX},
    "fkd": {
        "crop_scale": (0.08, 1.0),
        "mix": Mix.NONE,
        "epochs": 500,
        "temperature": 1.0,
        "loss": Loss.SOFT_CE,
    },
}
COMMON = {
    "epochs": 300,
    "temperature": 20.0,
    "loss": Loss.KL,
    "patch_grid": 1,
    "prune": 1.0,
    "crop_ratio": 4 / 3,
    "flip": 0.5,
}


def run(*words: object) -> int:
    return exit_code_of(app, name="labelcast", arguments=[str(word) for word in words])


def test_there_are_five() -> None:
    assert sorted(RECIPES) == sorted(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_a_recipe_has_the_numbers_of_its_paper(name: str) -> None:
    recipe = RECIPES[name]
    expected: dict[str, Any] = COMMON | FACTS[name]
    assert {field: getattr(recipe, field) for field in expected} == expected
    policy = recipe.policy(224, 192)
    assert (policy.view_height, policy.view_width) == (224, 192)
    assert policy.crop_scale == recipe.crop_scale
    assert policy.flip_probability == 0.5
    assert policy.mix_batch == (0 if recipe.mix is Mix.NONE else recipe.batch_size)
    assert policy.patch_grid == recipe.patch_grid
    assert policy.mix_probability == 1
    assert policy.rotation_degrees == 0


@pytest.mark.parametrize("name", FACTS)
def test_a_recipe_survives_its_json(name: str) -> None:
    recipe = replace(RECIPES[name], crop_scale=(0.25, 0.75), flip=0)
    assert Recipe.from_json(json.loads(recipe.to_bytes())) == recipe
    assert Recipe.from_bytes(recipe.to_bytes()) == recipe


@pytest.mark.parametrize(
    "change",
    [
        {"format": "labelcast/recipe/2"},
        {"extra": 1},
        {"epochs": 0},
        {"epochs": 300.0},
        {"epochs": True},
        {"batch_size": 1},
        {"prune": 0.5},
        {"prune": "40"},
        {"temperature": 0},
        {"crop_scale": [0.5]},
        {"crop_scale": [0.5, "1"]},
        {"crop_scale": 0.5},
        {"crop_ratio": 10**400},
        {"mix": "blend"},
        {"loss": "mse"},
        {"name": None},
    ],
    ids=str,
)
def test_a_recipe_is_read_to_the_letter(change: dict[str, Any]) -> None:
    with pytest.raises(LabelFileError):
        Recipe.from_json(RECIPES["rded"].as_json() | change)


def test_what_is_no_recipe_is_refused() -> None:
    value = RECIPES["rded"].as_json()
    del value["epochs"]
    wrongs: list[Any] = [None, [], value]
    for wrong in wrongs:
        with pytest.raises(LabelFileError):
            Recipe.from_json(wrong)


def test_lpld_keeps_seven_epochs_and_half_the_batches_of_the_eighth() -> None:
    samples = 1280 * 4
    kept = RECIPES["lpld"].kept_views(samples)
    assert kept.seeds == 8
    assert kept.present is not None
    assert kept.present.dtype == np.int64
    assert (np.diff(kept.present) > 0).all()
    whole, last = kept.present[: 7 * samples], kept.present[7 * samples :] - 7 * samples
    assert np.array_equal(whole, np.arange(7 * samples))
    order = sample_order(samples, seed=7, key=0)
    assert np.array_equal(last, np.sort(order[: samples // 2]))


@pytest.mark.parametrize(
    ("samples", "prune", "epochs", "seeds", "rows"),
    [
        # 79 batches an epoch, the last of 16: 592 of them are 7 epochs and 39 batches.
        (10_000, 40, 300, 8, 7 * 10_000 + 39 * 128),
        (1280, 1, 300, 300, None),
        (1280, 40, 400, 10, None),
        (1280, 1000, 300, 1, 3 * 128),
        # One batch is left, whatever is pruned.
        (100, 1e6, 300, 1, None),
        (300, 1e6, 300, 1, 128),
    ],
)
def test_pruning_keeps_whole_batches(
    samples: int, prune: float, epochs: int, seeds: int, rows: int | None
) -> None:
    kept = replace(RECIPES["lpld"], prune=prune, epochs=epochs).kept_views(samples)
    assert kept.seeds == seeds
    assert (None if kept.present is None else len(kept.present)) == rows


def test_another_key_keeps_another_half() -> None:
    first, second = (RECIPES["lpld"].kept_views(1280, key=key).present for key in (0, 1))
    assert first is not None
    assert second is not None
    assert not np.array_equal(first, second)


def test_impossible_numbers_are_refused() -> None:
    wrongs: list[dict[str, Any]] = [{"prune": float("nan")}, {"batch_size": 0}, {"epochs": 2**32}]
    for wrong in wrongs:
        with pytest.raises(InvalidRequestError, match=next(iter(wrong))):
            replace(RECIPES["rded"], **wrong)
    with pytest.raises(ManifestError, match="flip"):
        replace(RECIPES["rded"], flip=2).policy(8, 8)


def test_show_prints_the_recipe_with_its_changes(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--epochs", 12, "--batch-size", 50, "--crop-scale", 0.25, 1, "--flip", 0]
    words += ["--prune", 3, "--patch-grid", 4, "--show"]
    assert run("relabel", "--recipe", "rded", *words) == 0
    shown = Recipe.from_json(json.loads(capsys.readouterr().out))
    changes: dict[str, Any] = {"epochs": 12, "batch_size": 50, "crop_scale": (0.25, 1.0)}
    changes |= {"flip": 0.0, "prune": 3.0, "patch_grid": 4}
    assert shown == replace(RECIPES["rded"], **changes)


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--recipe", "mtt", "--show"), 2, "'cda', 'fkd', 'lpld'"),
        (("--recipe", "rded", "--policy", "p.json", "--show"), 1, "give one"),
        (("--show",), 1, "--recipe"),
        (("--flip", "0", "--seeds", "1"), 1, "--flip change a recipe"),
        (("--view-size", "8", "--prune", "2"), 1, "--prune, --view-size change a recipe"),
        (("--recipe", "rded", "--prune", "0.5", "--show"), 1, "prune 0.5 is out of range"),
        (("--recipe", "rded"), 2, "--teacher"),
        (("--recipe", "rded", "--teacher", "torch.nn:Identity"), 2, "--out"),
        (("--teacher", "torch.nn:Identity", "--out", "x"), 2, "--seeds"),
    ],
)
def test_words_that_do_not_fit_are_one_line(
    words: tuple[str, ...],
    status: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("relabel", *words) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert says in printed.err
    assert not list(tmp_path.iterdir())
