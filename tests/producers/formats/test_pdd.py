"""PDD's stages: stable samples, what is new in each; and every way to be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.codec.topk import Recovery
from labelcast.errors import LabelFileError, LabelValueError
from labelcast.label_set import RowOrder
from labelcast_producers.formats.distilled.files import DistilledSource
from labelcast_producers.formats.distilled.pdd import PddImporter
from labelcast_producers.formats.source import ImportOptions, TopK
from tests.producers.formats.truth_checks import check_labels, finding_of, names, one_line, open_own
from tests.producers.formats.writers.distilled_sets import write_mtt, write_pdd
from tests.producers.formats.writers.truth import Truth

NONE = ImportOptions()


def opened(path: Path, options: ImportOptions = NONE) -> DistilledSource:
    return open_own(PddImporter(), path, options)


def check_stages(source: DistilledSource, truth: Truth) -> None:
    assert truth.stages is not None
    assert truth.learning_rates is not None
    stages = source.facts.stages
    assert tuple(stage.learning_rate for stage in stages) == truth.learning_rates
    assert [stage.epochs for stage in stages] == [None] * len(stages)
    for number, stage in enumerate(stages):
        expected = truth.sample_ids[truth.stages == number]
        np.testing.assert_array_equal(stage.sample_ids, expected)
        assert stage.sample_ids.dtype == np.uint64


@pytest.mark.parametrize("layout", ["directories", "flat"])
@pytest.mark.parametrize("first", [0, 1])
def test_every_stage(tmp_path: Path, layout: Any, first: int) -> None:
    truth = write_pdd(tmp_path, classes=3, layout=layout, first_interval=first)

    source = opened(tmp_path)

    assert source.facts.num_classes == 3
    assert source.facts.top_k == TopK(1, Recovery.RENORMALISE)
    assert source.facts.index.row_order is RowOrder.SEED_MAJOR
    assert source.facts.index.seeds.tolist() == [0]
    assert source.facts.hard_labels is not None
    assert source.facts.hard_labels.tolist() == truth.labels.argmax(axis=1).tolist()
    assert [stage.name for stage in source.facts.stages] == [
        f"interval {number}" for number in range(first, first + 5)
    ]
    check_stages(source, truth)
    check_labels(source, truth, exact=True)


def test_stages_are_ordered_by_number(tmp_path: Path) -> None:
    truth = write_pdd(tmp_path, classes=2, stages=12, per_class=1)
    source = opened(tmp_path)
    check_stages(source, truth)
    check_labels(source, truth, exact=True)


def change(path: Path, part: str, edit: Any) -> None:
    if path.is_dir():
        file = path / f"{part}_best.pt"
        torch.save(edit(torch.load(file)), file)
        return
    content = torch.load(path)
    content[part] = edit(content[part])
    torch.save(content, path)


def third(path: Path, layout: str) -> Path:
    return path / ("interval_2_data.pt" if layout == "flat" else "interval2_ipc2")


def test_learned_labels(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3, stages=2)
    learned = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)) * 3
    for number in range(2):
        folder = tmp_path / f"interval{number}_ipc2"
        change(folder, "labels", lambda labels: learned[: len(labels)])
    source = opened(tmp_path)
    assert source.facts.top_k is None
    labels = np.concatenate([source.read(part) for part in source.parts])
    np.testing.assert_array_equal(labels, learned.numpy())


@pytest.mark.parametrize("layout", ["directories", "flat"])
@pytest.mark.parametrize("part", ["images", "labels"])
def test_samples_that_move_are_refused(tmp_path: Path, layout: Any, part: str) -> None:
    write_pdd(tmp_path, classes=3, layout=layout)

    def swap(values: torch.Tensor) -> torch.Tensor:
        values[[4, 7]] = values[[7, 4]]
        return values

    change(third(tmp_path, layout), part, swap)
    with pytest.raises(LabelFileError) as raised:
        opened(tmp_path)
    one_line(raised.value, str(third(tmp_path, layout)), "lacks sample 4", "keep all earlier")


@pytest.mark.parametrize("layout", ["directories", "flat"])
def test_stages_that_interleave(tmp_path: Path, layout: Any) -> None:
    """The IDC flavour: what is new lies between what was there."""
    truth = write_pdd(tmp_path / "files", classes=3, arrangement="interleaved", layout=layout)
    source = opened(tmp_path / "files")
    check_stages(source, truth)
    check_labels(source, truth, exact=True)
    appended = write_pdd(tmp_path / "appended", classes=3, layout=layout)
    check_labels(source, appended, exact=True)


def test_equal_samples_stay_two(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3, stages=2)
    for stage in (0, 1):
        for part in ("images", "labels"):
            change(
                tmp_path / f"interval{stage}_ipc2",
                part,
                lambda values: torch.cat([values[:1], values]),
            )
    sizes = [len(stage.sample_ids) for stage in opened(tmp_path).facts.stages]
    assert sizes == [7, 6]


def test_companions_are_left_out_with_a_note(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3, stages=2)
    others, replays = [note for note in opened(tmp_path).facts.notes if "left out" in note]
    assert others.startswith("6 files of other iterations")
    assert replays == (
        "2 files of the teachers' trajectories are left out, such as"
        " interval0_ipc2/replay_buffer_0.pt"
    )


def test_a_stage_that_adds_nothing(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3)
    for part in ("images", "labels"):
        change(third(tmp_path, "directories"), part, lambda values: values[:12])
    with pytest.raises(LabelFileError, match="12 samples, which is no more than the stage before"):
        opened(tmp_path)


@pytest.mark.parametrize("layout", ["directories", "flat"])
def test_a_stage_that_is_missing(tmp_path: Path, layout: Any) -> None:
    write_pdd(tmp_path / "set", classes=3, layout=layout)
    third(tmp_path / "set", layout).rename(tmp_path / "elsewhere")
    with pytest.raises(LabelFileError, match="lacks stage 2 of 0 to 4"):
        opened(tmp_path / "set")


def test_a_stage_that_is_there_twice(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3)
    write_pdd(tmp_path, classes=3, stages=1, suffix="again")
    with pytest.raises(LabelFileError, match="has stage 0 twice"):
        opened(tmp_path)


@pytest.mark.parametrize("layout", ["directories", "flat"])
def test_labels_that_are_not_one_an_image(tmp_path: Path, layout: Any) -> None:
    write_pdd(tmp_path, classes=3, layout=layout)
    change(third(tmp_path, layout), "labels", lambda labels: labels[:-1])
    with pytest.raises(LabelFileError) as raised:
        PddImporter().open(tmp_path, NONE)
    one_line(
        raised.value, str(third(tmp_path, layout)), "as many labels" if layout == "flat" else ""
    )


def test_values_that_are_wrong(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3)
    with pytest.raises(LabelFileError, match="class ID 2 is none of the 2"):
        opened(tmp_path, ImportOptions(class_names=names(2)))
    folder = third(tmp_path, "directories")
    change(folder, "syn_lr", lambda rate: torch.tensor(torch.inf))
    with pytest.raises(LabelFileError, match=r"syn_lr_best\.pt: the learning rate is inf"):
        opened(tmp_path)
    change(folder, "labels", lambda labels: torch.full((len(labels), 3), torch.nan))
    with pytest.raises(LabelValueError, match="row 0 holds NaN"):
        opened(tmp_path)
    (folder / "images_best.pt").unlink()
    with pytest.raises(LabelFileError, match=r"images_best\.pt is missing"):
        opened(tmp_path)


def test_a_stage_without_a_learning_rate(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3)
    (third(tmp_path, "directories") / "syn_lr_best.pt").unlink()
    rates = [stage.learning_rate for stage in opened(tmp_path).facts.stages]
    assert rates[2] is None
    assert None not in rates[:2]


def test_truncated_files(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3, layout="flat")
    file = third(tmp_path, "flat")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(LabelFileError, match=file.name):
        PddImporter().open(tmp_path, NONE)


def test_what_inspect_shows(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3, stages=3)
    finding = finding_of(PddImporter(), tmp_path)
    assert finding.inside == {
        "stages": [0, 1, 2],
        "samples": [6, 12, 18],
        "layout": "directories",
    }


def test_foreign_files_are_named(tmp_path: Path) -> None:
    write_pdd(tmp_path, classes=3)
    (tmp_path / "train.log").touch()
    (tmp_path / "interval1_ipc2" / ".DS_Store").touch()
    finding = finding_of(PddImporter(), tmp_path)
    assert finding.foreign == ("interval1_ipc2/.DS_Store", "train.log")
    with pytest.raises(LabelFileError, match=r"\.DS_Store is no stage"):
        PddImporter().open(tmp_path, NONE)


def test_other_sets_are_not_ours(tmp_path: Path) -> None:
    assert PddImporter().detect(tmp_path) is None
    assert PddImporter().detect(tmp_path / "missing") is None
    write_mtt(tmp_path, samples=8, classes=4)
    assert PddImporter().detect(tmp_path) is None
    other = tmp_path / "other"
    other.mkdir()
    torch.save([1, 2], other / "interval_0_data.pt")
    assert PddImporter().detect(other) is None
