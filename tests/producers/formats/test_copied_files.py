"""Files that were copied over others: other images would get their labels."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from labelcast.codec.topk import Recovery
from labelcast.errors import LabelFileError
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.stored_files import edit, load, put
from tests.producers.formats.truth_checks import names, one_line
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.tinyvit import write_tinyvit

SMALL: dict[str, Any] = {"samples": 12, "epochs": 3, "batch_size": 4, "classes": 12}
OPTIONS = ImportOptions(num_samples=12, class_names=names(12), temperature=1.0)
COORDS, LABELS = 0, 5


def copied(write: Callable[..., Any], place: Path, source: str, target: str, **more: Any) -> bytes:
    """Write files and copy one over another, whose content is returned."""
    write(place, **SMALL | more)
    good = (place / target).read_bytes()
    shutil.copy(place / source, place / target)
    return good


@pytest.mark.parametrize(
    ("write", "source", "target"),
    [
        (write_sre2l, "epoch_0/batch_0.tar", "epoch_1/batch_0.tar"),
        (write_sre2l, "epoch_2/batch_1.tar", "epoch_0/batch_2.tar"),
        (write_sre2l, "epoch_1/batch_1.tar", "epoch_1/batch_0.tar"),
        (write_lpld, "epoch_0/batch_0.tar", "epoch_2/batch_1.tar"),
        (write_lpqld, "batch_1.tar", "batch_2.tar"),
        (write_lpqld, "batch_1.tar", "batch_7.tar"),
        (write_hald, "epoch_0.tar", "epoch_1.tar"),
    ],
)
@pytest.mark.parametrize("mix", ["cutmix", "mixup", "none"])
def test_a_batch_under_other_samples(
    write: Callable[..., Any], source: str, target: str, mix: str, tmp_path: Path
) -> None:
    good = copied(write, tmp_path, source, target, mix=mix, epochs=4)
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path, OPTIONS)
    both = (str(tmp_path / source), str(tmp_path / target))
    one_line(raised.value, *both, "one was copied over the other; fetch both again")
    (tmp_path / target).write_bytes(good)
    Import.open(tmp_path, OPTIONS)


@pytest.mark.parametrize("write", [write_gvbsm, write_edc])
def test_a_batch_that_names_its_samples(write: Callable[..., Any], tmp_path: Path) -> None:
    good = copied(write, tmp_path, "epoch_0/batch_0.tar", "epoch_1/batch_0.tar")
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path, OPTIONS)
    names = (str(tmp_path / "epoch_1" / f"batch_{number}.tar") for number in (0, 1))
    one_line(raised.value, next(names), "fetch both files and their list of samples again")
    (tmp_path / "epoch_1/batch_0.tar").write_bytes(good)
    Import.open(tmp_path, OPTIONS)


WIDE = replace(OPTIONS, num_samples=None, recovery=Recovery.SPREAD)
VIEWS: dict[str, Any] = {"samples": 12, "epochs": 3, "classes": 12}


@pytest.mark.parametrize(
    ("write", "of", "source", "target"),
    [
        (write_fkd, {"label_type": "full"}, "class_001/*", "class_007/*"),
        (write_fkd, {"label_type": "marginal_smoothing_k5"}, "class_001/*", "class_007/*"),
        (write_tinyvit, {"k": 3}, "*_epoch0/rank0-values.bin", "*_epoch2/rank0-values.bin"),
        (write_tinyvit, {"k": 3}, "*_epoch0/rank1-values.bin", "*_epoch0/rank0-values.bin"),
    ],
)
def test_the_labels_of_other_images(
    write: Callable[..., Any], of: dict[str, Any], source: str, target: str, tmp_path: Path
) -> None:
    write(tmp_path, **VIEWS | of)
    (one,), (other,) = (list(tmp_path.glob(pattern)) for pattern in (source, target))
    good = other.read_bytes()
    shutil.copy(one, other)
    with pytest.raises(LabelFileError) as raised:
        Import.open(tmp_path, WIDE)
    one_line(raised.value, str(one), str(other), "though of other samples", "fetch both again")
    other.write_bytes(good)
    Import.open(tmp_path, WIDE)


def test_views_that_are_the_same_of_every_image_tell_nothing(tmp_path: Path) -> None:
    write_fkd(tmp_path, **VIEWS, label_type="full")
    files = sorted(tmp_path.rglob("*.tar"))
    first = load(files[0])
    for file in files:
        torch.save(first, file)
    assert Import.open(tmp_path, OPTIONS).facts.index.num_rows == 36


def whole_images(record: Any) -> None:
    record[COORDS] = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 4)


def one_answer(record: Any) -> None:
    record[LABELS][:] = torch.arange(12)


def each(files: Path, change: Callable[[Any], object]) -> None:
    for file in files.rglob("*.tar"):
        edit(file, change)


def test_crops_that_are_all_the_same_tell_nothing(tmp_path: Path) -> None:
    """Of a teacher that says one thing, such batches are rightly the same where flips are."""
    write_sre2l(tmp_path, **SMALL, mix="none")
    each(tmp_path, whole_images)
    each(tmp_path, one_answer)
    each(tmp_path, put(1, torch.zeros(4, dtype=torch.bool)))
    assert Import.open(tmp_path, OPTIONS).facts.index.num_rows == 36


def test_draws_that_repeat_in_every_epoch_tell_nothing(tmp_path: Path) -> None:
    """As of workers that are seeded anew with each epoch, whoever the teacher is."""
    write_sre2l(tmp_path, **SMALL)
    for epoch in (1, 2):
        for number in range(3):
            drawn = load(tmp_path / "epoch_0" / f"batch_{number}.tar")
            file = tmp_path / f"epoch_{epoch}" / f"batch_{number}.tar"
            edit(file, put(slice(5), drawn[:5]))
    Import.open(tmp_path, OPTIONS)
    each(tmp_path, one_answer)
    Import.open(tmp_path, OPTIONS)


def test_a_batch_that_was_labelled_again_is_no_copy(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL)
    drawn = load(tmp_path / "epoch_0" / "batch_0.tar")
    edit(tmp_path / "epoch_1" / "batch_1.tar", put(slice(5), drawn[:5]))
    Import.open(tmp_path, OPTIONS)


def test_the_same_views_of_the_same_samples_are_no_copy(tmp_path: Path) -> None:
    """As of a run that began anew with its first seed: its list of samples says so."""
    write_lpld(tmp_path, **SMALL)
    file = tmp_path / "sampler_indices_epoch.json"
    listed = json.loads(file.read_text())
    shutil.copytree(tmp_path / "epoch_0", tmp_path / "epoch_2", dirs_exist_ok=True)
    file.write_text(json.dumps(listed | {"2": listed["0"]}))
    Import.open(tmp_path, OPTIONS)
