"""Distilled sets: learned and hard labels; and every way to be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast.errors import DataError, InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set import SampleOrder
from labelcast_producers.formats.distilled.files import DistilledImporter, DistilledSource
from labelcast_producers.formats.source import ImportOptions, TopK
from tests.producers.formats.truth_checks import check_labels, finding_of, names, one_line, open_own
from tests.producers.formats.writers.arrays import write_arrays
from tests.producers.formats.writers.distilled_sets import write_frepo, write_mtt

NONE = ImportOptions()


def opened(path: Path, options: ImportOptions = NONE) -> DistilledSource:
    return open_own(DistilledImporter(), path, options)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
@pytest.mark.parametrize("said", [False, True])
def test_learned_labels(tmp_path: Path, kind: str, said: bool) -> None:
    truth = write_mtt(tmp_path, samples=8, classes=4, label_kind=kind)
    if kind == "probabilities":
        labels = torch.softmax(torch.load(tmp_path / "labels_best.pt"), dim=1)
        torch.save(labels, tmp_path / "labels_best.pt")
        object.__setattr__(truth, "labels", labels.numpy())

    source = opened(tmp_path, ImportOptions(label_kind=LabelKind(kind)) if said else NONE)

    assert source.facts.temperature == (1 if kind == "probabilities" else None)
    assert source.facts.top_k is None
    assert source.facts.policy is None
    assert source.facts.order is SampleOrder.GIVEN
    assert source.facts.index.seeds.tolist() == [0]
    assert source.records() is None
    assert source.facts.hard_labels is not None
    assert source.facts.hard_labels.tolist() == truth.labels.argmax(axis=1).tolist()
    assert any("learning rate" in note for note in source.facts.notes)
    assert any("by their values" in note for note in source.facts.notes) == (not said)
    check_labels(source, truth, exact=True)


def test_hard_labels(tmp_path: Path) -> None:
    truth = write_mtt(tmp_path, samples=8, classes=4, hard=True)
    source = opened(tmp_path)
    assert source.facts.top_k == TopK(1, Recovery.RENORMALISE)
    assert source.facts.temperature == 1
    assert source.facts.hard_labels is not None
    assert source.facts.hard_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    check_labels(source, truth, exact=True)
    ids, values = source.read_top_k(source.parts[0])
    assert ids[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert values.tolist() == [[1.0]] * 8


def test_classes_without_images_need_names(tmp_path: Path) -> None:
    write_mtt(tmp_path, samples=8, classes=4, hard=True)
    torch.save(torch.tensor([0, 0, 1, 1, 3, 3, 3, 3]), tmp_path / "labels_best.pt")
    with pytest.raises(InvalidRequestError, match="--class-names"):
        opened(tmp_path)
    assert opened(tmp_path, ImportOptions(class_names=names(6))).facts.num_classes == 6
    with pytest.raises(LabelFileError, match="sample 4: class ID 3 is none of the 3"):
        opened(tmp_path, ImportOptions(class_names=names(3)))


@pytest.mark.parametrize("layout", ["npz", "npy"])
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("keys", [("image", "label"), ("x", "y")])
def test_frepo_and_kip(tmp_path: Path, layout: str, hard: bool, keys: tuple[str, str]) -> None:
    truth = write_frepo(tmp_path / "set.npz", samples=8, classes=4, keys=keys)
    with np.load(tmp_path / "set.npz") as arrays:
        x, y = arrays[keys[0]], arrays[keys[1]]
    y = np.arange(8) // 2 if hard else y
    path = tmp_path / "set.npz"
    if layout == "npz":
        arrays_of: dict[str, Any] = {keys[0]: x, keys[1]: y}
        np.savez_compressed(path, **arrays_of)
    else:
        path = tmp_path / "pair"
        path.mkdir()
        np.save(path / f"{keys[0]}.npy", x)
        np.save(path / f"{keys[1]}.npy", y)
    source = opened(path)
    assert source.facts.num_classes == 4
    if hard:
        assert source.read(source.parts[0]).argmax(axis=1).tolist() == y.tolist()
    else:
        check_labels(source, truth, exact=True)


def test_half_precision_is_kept_and_double_is_not(tmp_path: Path) -> None:
    write_mtt(tmp_path, samples=8, classes=4)
    labels = torch.load(tmp_path / "labels_best.pt")
    torch.save(labels.half(), tmp_path / "labels_best.pt")
    source = opened(tmp_path)
    assert source.read(source.parts[0]).dtype == np.float16
    torch.save(labels.double(), tmp_path / "labels_best.pt")
    source = opened(tmp_path)
    np.testing.assert_array_equal(source.read(source.parts[0]), labels.numpy())


def test_what_inspect_shows(tmp_path: Path) -> None:
    write_mtt(tmp_path, samples=8, classes=4)
    finding = finding_of(DistilledImporter(), tmp_path)
    assert finding.inside == {
        "samples": 8,
        "labels": "learned",
        "dtype": "float32",
        "classes": 4,
        "images": [8, 3, 8, 8],
    }


def test_other_files_are_not_ours(tmp_path: Path) -> None:
    assert DistilledImporter().detect(tmp_path) is None
    assert DistilledImporter().detect(tmp_path / "missing") is None
    write_arrays(tmp_path, container="npz", samples=8, classes=4)
    assert DistilledImporter().detect(tmp_path / "labels.npz") is None
    np.savez(tmp_path / "bad.npz", x=np.zeros((3, 2)), y=np.array([None] * 3))
    assert DistilledImporter().detect(tmp_path / "bad.npz") is None


def test_companions_are_left_out_with_a_note(tmp_path: Path) -> None:
    truth = write_mtt(tmp_path, samples=8, classes=4, iterations=(0, 500, 1000))
    source = opened(tmp_path)
    check_labels(source, truth, exact=True)
    (note,) = [note for note in source.facts.notes if "left out" in note]
    assert "12 files of other iterations" in note


def test_foreign_files_are_named(tmp_path: Path) -> None:
    write_mtt(tmp_path, samples=8, classes=4)
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "run.log").touch()
    finding = finding_of(DistilledImporter(), tmp_path)
    assert finding.foreign == (".DS_Store", "run.log")
    with pytest.raises(LabelFileError, match=r"\.DS_Store is no part"):
        DistilledImporter().open(tmp_path, NONE)


@pytest.mark.parametrize(
    ("stored", "kind", "says"),
    [
        ([torch.zeros(4)] * 8, LabelFileError, "holds list"),
        (torch.zeros(8, 2, 2), LabelFileError, "float32 of shape (8, 2, 2)"),
        (torch.zeros(8), LabelFileError, "float32 of shape (8,)"),
        (torch.zeros(8, 4, dtype=torch.int64), LabelFileError, "int64 of shape (8, 4)"),
        (torch.zeros(0, 4), LabelFileError, "of shape (0, 4)"),
        (torch.zeros(7, 4), LabelFileError, "has 7 labels, but there are (8,) images"),
        (torch.full((8, 4), torch.nan), LabelValueError, "row 0 holds NaN"),
    ],
)
def test_labels_that_are_none(
    tmp_path: Path, stored: Any, kind: type[DataError], says: str
) -> None:
    write_mtt(tmp_path, samples=8, classes=4)
    torch.save(stored, tmp_path / "labels_best.pt")
    with pytest.raises(kind) as raised:
        opened(tmp_path)
    one_line(raised.value, "labels_best.pt", says)


@pytest.mark.parametrize("stored", [torch.zeros(2), "fast", torch.tensor(float("nan"))])
def test_a_learning_rate_is_one_number(tmp_path: Path, stored: Any) -> None:
    write_mtt(tmp_path, samples=8, classes=4)
    torch.save(stored, tmp_path / "syn_lr_best.pt")
    with pytest.raises(LabelFileError, match=r"syn_lr_best\.pt.* learning rate"):
        opened(tmp_path)


def test_truncated_files(tmp_path: Path) -> None:
    write_mtt(tmp_path, samples=8, classes=4)
    file = tmp_path / "labels_best.pt"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(LabelFileError, match=r"labels_best\.pt"):
        opened(tmp_path)


def test_options_that_contradict_the_files(tmp_path: Path) -> None:
    write_mtt(tmp_path, samples=8, classes=4, hard=True)
    with pytest.raises(InvalidRequestError, match="holds classes"):
        opened(tmp_path, ImportOptions(label_kind=LabelKind.LOGITS))
    with pytest.raises(InvalidRequestError, match="--images"):
        opened(tmp_path, ImportOptions(images=tmp_path))
    write_mtt(tmp_path, samples=8, classes=4)
    with pytest.raises(InvalidRequestError, match="4 classes, but 3 class names"):
        opened(tmp_path, ImportOptions(class_names=names(3)))
    with pytest.raises(LabelValueError, match=r"labels_best\.pt: some rows are no distributions"):
        opened(tmp_path, ImportOptions(label_kind=LabelKind.PROBABILITIES))


def test_files_that_change_are_refused(tmp_path: Path) -> None:
    write_mtt(tmp_path, samples=8, classes=4)
    source = opened(tmp_path)
    torch.save(torch.zeros(5, 4), tmp_path / "labels_best.pt")
    with pytest.raises(LabelFileError, match="changed since it was scanned"):
        source.read(source.parts[0])
