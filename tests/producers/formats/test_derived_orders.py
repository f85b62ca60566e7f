"""Sample IDs that cannot be derived are refused, and what a teacher confirmed is not doubted."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from labelcast.errors import InvalidRequestError, LabelFileError
from labelcast.label_set import SampleOrder
from labelcast.views import Views
from labelcast_producers.formats.importing import Import, SampleOrderWarning
from labelcast_producers.formats.recognition import recognise
from labelcast_producers.formats.source import ImportOptions, PermutationDraws
from tests.producers.formats.stored_files import edit
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


def test_an_uncertain_teachers_labels_tell_where_labelling_broke_off(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"samples": 90, "batch_size": 30, "classes": 10}
    write_lpld(tmp_path, **sizes, epochs=3)
    (tmp_path / INDICES).unlink()

    def uncertain(record: list[Any]) -> None:
        rng = np.random.default_rng(int(record[5].abs().sum()))
        record[5] += torch.from_numpy(2 * rng.normal(size=(30, 10))).half()

    for path in tmp_path.rglob("*.tar"):
        edit(path, uncertain)
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path, ImportOptions(num_samples=90)).source.require_order()
    one_line(raised.value, "epoch_3 is in another order", INDICES, "move epoch_3 away")


def test_every_epoch_is_compared(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL, epochs=5)
    for number in range(3):
        batch = f"batch_{number}.tar"
        (tmp_path / "epoch_2" / batch).write_bytes((tmp_path / "epoch_0" / batch).read_bytes())
        # Not the same bytes, or they would be refused as copies.
        edit(tmp_path / "epoch_2" / batch, lambda record: record[0].mul_(0.5))
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path, COUNTED).source.require_order()
    one_line(raised.value, "epoch_2 is in another order", "move epoch_2 to epoch_4 away")
    for epoch in (2, 3, 4):
        shutil.rmtree(tmp_path / f"epoch_{epoch}")
    labels = Import.open(tmp_path, COUNTED)
    assert labels.source.require_order() is None


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
    assert labels.source.require_order() is None
    assert sample_order(labels, truth) == 1


def test_draws_that_nobody_said_must_fit_the_labels(tmp_path: Path) -> None:
    truth = write_sre2l(tmp_path, **SMALL, epochs=3, order="old")
    with pytest.raises(InvalidRequestError) as raised:
        Import.open(tmp_path, COUNTED).source.require_order()
    one_line(raised.value, "give --draws one", INDICES)
    labels = Import.open(tmp_path, replace(COUNTED, draws=ONE))
    assert labels.source.require_order() is None
    assert sample_order(labels, truth) == 1


def test_a_count_that_nobody_said_must_fit_the_labels(tmp_path: Path) -> None:
    files, images = tmp_path / "files", tmp_path / "images"
    truth = write_sre2l(files, **SMALL | {"samples": 24}, epochs=3, drop_last=True)
    with pytest.raises(InvalidRequestError, match="not 21: give --images or --samples"):
        Import.open(files).source.require_order()
    for number in range(24):
        path = images / str(number % 10) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (300, 300), (number, 0, 0)).save(path)
    for advised in (ImportOptions(num_samples=24), ImportOptions(images=images, view_size=224)):
        labels = Import.open(files, advised)
        assert labels.source.require_order() is None
        assert sample_order(labels, truth) == 1


def relabelled(files: Path, labels: Callable[[torch.Tensor], torch.Tensor]) -> bytes:
    """LPLD's files with other labels, without their list of samples, which is returned."""
    write_lpld(files, **SMALL, epochs=4)
    for path in files.rglob("*.tar"):
        edit(path, lambda record: record.__setitem__(5, labels(record[5]).half()))
    listed = (files / INDICES).read_bytes()
    (files / INDICES).unlink()
    return listed


def noise(labels: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(int(labels.abs().sum())).normal(size=(7, 10)))


def nearly_one_answer(labels: torch.Tensor) -> torch.Tensor:
    return torch.arange(10) + labels / 100


def one_class(labels: torch.Tensor) -> torch.Tensor:
    return labels[:, :1]


@pytest.mark.parametrize("labels", [noise, nearly_one_answer, one_class])
@pytest.mark.parametrize("codec", [None, "raw:fp16"])
def test_labels_that_do_not_tell_their_order_are_warned_of(
    tmp_path: Path, labels: Any, codec: str | None
) -> None:
    files = tmp_path / "files"
    listed = relabelled(files, labels)
    silent = Import.open(files, COUNTED)
    with pytest.warns(SampleOrderWarning, match=f"{files / 'epoch_1'} do not tell"):
        write(silent, tmp_path / "silent", codec)
    (warning,) = silent.warnings
    assert f"if LPLD made these files, put the {INDICES} of this run there" in warning
    assert "--verify-with" in warning
    assert "--draws" not in warning
    assert silent.facts.order is SampleOrder.UNVERIFIED
    (files / INDICES).write_bytes(listed)
    told = Import.open(files, COUNTED)
    write(told, tmp_path / "told", codec)
    assert told.warnings == ()
    assert told.facts.order is SampleOrder.GIVEN


def write(labels: Import, out: Path, codec: str | None) -> object:
    return labels.write_dense(out) if codec is None else labels.write_label_set(out, codec=codec)


def test_draws_that_the_labels_contradict_are_refused(tmp_path: Path) -> None:
    truth = write_sre2l(tmp_path, **SMALL, epochs=3)
    with pytest.raises(InvalidRequestError) as raised:
        Import.open(tmp_path, replace(COUNTED, draws=ONE)).source.require_order()
    one_line(raised.value, "give --draws two", INDICES)
    for draws in (TWO, PermutationDraws.AUTO):
        labels = Import.open(tmp_path, replace(COUNTED, draws=draws))
        assert labels.source.require_order() is None
        assert sample_order(labels, truth) == 1


def test_a_count_that_labels_cannot_bear_out_is_asked_for(tmp_path: Path) -> None:
    listed = relabelled(tmp_path, nearly_one_answer)
    with pytest.raises(InvalidRequestError) as raised:
        Import.open(tmp_path).source.require_order()
    one_line(raised.value, f"--samples, or put the {INDICES} of this run there")
    Import.open(tmp_path, COUNTED).source.require_order()
    (tmp_path / INDICES).write_bytes(listed)
    assert Import.open(tmp_path).source.require_order() is None


@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
@pytest.mark.parametrize("draws", [ONE, TWO, PermutationDraws.AUTO])
def test_orders_that_are_right_pass(tmp_path: Path, mix: Any, draws: PermutationDraws) -> None:
    order: Any = "old" if draws is ONE else "current"
    write_sre2l(tmp_path, **SMALL, epochs=3, mix=mix, order=order)
    for options in (COUNTED, ImportOptions()):
        labels = Import.open(tmp_path, replace(options, draws=draws))
        assert labels.source.require_order() is None
