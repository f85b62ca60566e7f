"""Sample IDs that cannot be derived are refused, and what a teacher confirmed is not doubted."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.views import Views
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.recognition import recognise
from labelcast_producers.formats.source import ImportOptions, PermutationDraws
from tests.producers.formats.truth_checks import one_line
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.truth import Truth

INDICES, ARGUMENTS = "sampler_indices_epoch.json", "args.txt"
SMALL: dict[str, Any] = {"samples": 21, "batch_size": 7, "classes": 10}
COUNTED = ImportOptions(num_samples=21)
ONE, TWO = PermutationDraws.ONE, PermutationDraws.TWO


def sample_order(labels: Import, truth: Truth) -> float:
    """The share of views whose label is that of the truth."""
    index = labels.facts.index
    views = Views(truth.sample_ids, truth.seeds)
    rows, present = index.rows(views)
    dense = np.zeros((len(truth), labels.facts.num_classes), np.float16)
    for part in labels.source.parts:
        dense[part.rows] = labels.source.read(part)
    return float((dense[rows[present]] == truth.labels[present]).all(axis=1).mean())


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
def test_the_epoch_after_lpld_broke_off_is_refused(tmp_path: Path, mix: Any) -> None:
    files = tmp_path / "files"
    truth = write_lpld(files, **SMALL, epochs=4, mix=mix)
    listed = (files / INDICES).read_bytes()
    (files / INDICES).unlink()
    labels = Import.open(files, COUNTED)
    assert labels.facts.format == "sre2l"
    for refused in (labels.write_dense, labels.write_label_set):
        with pytest.raises(LabelFileError) as raised:
            refused(tmp_path / "out")
        one_line(raised.value, "epoch_4", INDICES, "move epoch_4 away")
        assert not (tmp_path / "out" / "labels.json").exists()
    # Both pieces of advice work.
    (files / INDICES).write_bytes(listed)
    labels = Import.open(files, COUNTED)
    labels.write_dense(tmp_path / "with-list")
    assert sample_order(labels, truth) == 1
    (files / INDICES).unlink()
    shutil.rmtree(files / "epoch_4")
    labels = Import.open(files, COUNTED)
    labels.write_dense(tmp_path / "without-epoch")
    assert sample_order(labels, truth) == 1


def test_arguments_of_lpld_beside_the_batches(tmp_path: Path) -> None:
    files = tmp_path / "files"
    truth = write_lpld(files, **SMALL, epochs=1.4)
    (files / ARGUMENTS).write_text("Namespace(prune_ratio=0.5)")
    labels = Import.open(files)
    assert labels.facts.format == "lpld"
    assert f"ignored, as they hold no labels: {ARGUMENTS}" in labels.notes
    assert sample_order(labels, truth) == 1
    (files / INDICES).unlink()
    with pytest.raises(LabelFileError) as raised:
        Import.open(files, COUNTED)
    one_line(raised.value, f"has no {INDICES}", f"move {ARGUMENTS} away")
    with pytest.raises(LabelFileError, match="is not sre2l but lpld"):
        recognise(files, "sre2l")
    (files / ARGUMENTS).unlink()
    labels = Import.open(files, COUNTED)
    assert labels.facts.format == "sre2l"
    labels.source.require_order()
    assert sample_order(labels, truth) == 1


def test_draws_that_nobody_said_must_fit_the_labels(tmp_path: Path) -> None:
    truth = write_sre2l(tmp_path, **SMALL, epochs=3, order="old")
    with pytest.raises(InvalidRequestError) as raised:
        Import.open(tmp_path, COUNTED).source.require_order()
    one_line(raised.value, "give --draws one", INDICES)
    labels = Import.open(tmp_path, replace(COUNTED, draws=ONE))
    labels.source.require_order()
    assert sample_order(labels, truth) == 1


def test_a_count_that_nobody_said_must_fit_the_labels(tmp_path: Path) -> None:
    truth = write_sre2l(tmp_path, **SMALL | {"samples": 24}, epochs=3, drop_last=True)
    with pytest.raises(InvalidRequestError, match="not 21: give --images or --samples"):
        Import.open(tmp_path).source.require_order()
    labels = Import.open(tmp_path, ImportOptions(num_samples=24))
    labels.source.require_order()
    assert sample_order(labels, truth) == 1


def test_labels_that_say_nothing_of_samples_decide_nothing(tmp_path: Path) -> None:
    write_lpld(tmp_path, **SMALL, epochs=4)
    (tmp_path / INDICES).unlink()
    random = torch.Generator().manual_seed(1)
    for path in tmp_path.rglob("*.tar"):
        record = torch.load(path, weights_only=False)
        record[5] = torch.randn(record[5].shape, generator=random).half()
        torch.save(record, path)
    Import.open(tmp_path, COUNTED).source.require_order()
    for path in tmp_path.rglob("*.tar"):
        record = torch.load(path, weights_only=False)
        record[5][:] = torch.arange(10)
        torch.save(record, path)
    Import.open(tmp_path, COUNTED).source.require_order()


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
@pytest.mark.parametrize("draws", [ONE, TWO, PermutationDraws.AUTO])
def test_orders_that_are_right_pass(tmp_path: Path, mix: Any, draws: PermutationDraws) -> None:
    order: Any = "old" if draws is ONE else "current"
    write_sre2l(tmp_path, **SMALL, epochs=3, mix=mix, order=order)
    for options in (COUNTED, ImportOptions()):
        Import.open(tmp_path, replace(options, draws=draws)).source.require_order()
