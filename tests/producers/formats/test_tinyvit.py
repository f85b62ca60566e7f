"""TinyViT's records: every one in its place, over ranks and epochs; and every way to be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.augmentation import ForeignPolicy
from labelcast.codec.topk import Recovery
from labelcast.errors import DataError, InvalidRequestError, LabelFileError, LabelValueError
from labelcast.label_set import RowOrder, SampleOrder
from labelcast_producers.formats.source import ImportOptions, TopK
from labelcast_producers.formats.tinyvit import TinyVitImporter, TinyVitSource
from labelcast_producers.formats.tinyvit import importer as tinyvit
from tests.producers.formats.truth_checks import (
    check_labels,
    check_top_k,
    finding_of,
    names,
    one_line,
    open_own,
)
from tests.producers.formats.writers.producer_pixels import write_image_folder
from tests.producers.formats.writers.tinyvit import write_tinyvit

SMALL: dict[str, Any] = {"samples": 10, "epochs": 3, "classes": 12, "k": 4}
LOST = ImportOptions(class_names=names(12))
RECORD = 4 + 4 * 4


def opened(path: Path, options: ImportOptions = LOST) -> TinyVitSource:
    return open_own(TinyVitImporter(), path, options)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("rows_per_part", [1, 4, 100])
def test_every_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int, rows_per_part: int
) -> None:
    monkeypatch.setattr(tinyvit, "_PART_BYTES", rows_per_part * 4 * 12)
    monkeypatch.setattr(tinyvit, "_CHUNK_BYTES", 2 * RECORD)
    truth = write_tinyvit(tmp_path, **SMALL, ranks=ranks)

    source = opened(tmp_path)

    assert source.facts.top_k == TopK(4, Recovery.SPREAD)
    assert source.facts.temperature == 1
    assert isinstance(source.facts.policy, ForeignPolicy)
    assert source.facts.order is SampleOrder.GIVEN
    assert source.facts.index.row_order is RowOrder.SEED_MAJOR
    assert source.facts.index.present is None
    assert source.facts.hard_labels is None
    assert source.records() is None
    assert all(len(part.rows) <= rows_per_part for part in source.parts)
    check_labels(source, truth, exact=False)
    check_top_k(source, truth)


def test_recovery_and_temperature_are_the_users(tmp_path: Path) -> None:
    write_tinyvit(tmp_path, **SMALL)
    options = ImportOptions(class_names=names(12), recovery=Recovery.RENORMALISE, temperature=2.0)
    source = opened(tmp_path, options)
    assert source.facts.temperature == 2
    labels = source.read(source.parts[0])
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert ((labels > 0).sum(axis=1) <= 4).all()


@pytest.mark.parametrize("bare", [False, True])
def test_keys_are_looked_up_in_the_images(tmp_path: Path, bare: bool) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    paths, classes = write_image_folder(images, samples=10, classes=12)
    listed = [path.relative_to(images).as_posix() for path in reversed(paths)]
    (tmp_path / "list.txt").write_text("\n".join(listed))
    keys = [Path(name).stem for name in listed] if bare else listed
    truth = write_tinyvit(labels, **SMALL, names=keys)
    options = ImportOptions(images=images, image_list=tmp_path / "list.txt", class_names=names(12))

    source = opened(labels, options)

    check_labels(source, truth, exact=False)
    # There are images of ten classes only, so their numbers mean nothing.
    assert source.facts.hard_labels is None
    assert len(classes) == 10
    (tmp_path / "list.txt").write_text("\n".join(listed[1:]))
    with pytest.raises(LabelFileError, match="but there is no such image"):
        opened(labels, options)


def test_images_give_classes_and_hard_labels(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "labels"
    write_image_folder(images, samples=12, classes=12)
    truth = write_tinyvit(labels, samples=12, epochs=2, classes=12)
    source = opened(labels, ImportOptions(images=images))
    assert source.facts.hard_labels is not None
    assert source.facts.hard_labels.tolist() == list(range(12))
    assert source.facts.class_names == names(12)
    check_labels(source, truth, exact=False)


def test_keys_that_are_numbers_are_ids(tmp_path: Path) -> None:
    truth = write_tinyvit(tmp_path, samples=12, epochs=2, classes=12, names=[*map(str, range(12))])
    source = opened(tmp_path)
    assert source.facts.index.sample_ids.tolist() == list(range(12))
    check_labels(source, truth, exact=False)


def test_an_epoch_may_lack_images_and_repeat_others(tmp_path: Path) -> None:
    truth = write_tinyvit(tmp_path, **SMALL)
    folder = tmp_path / "logits_top4_epoch1"
    keys, values = folder / "rank1-keys.txt", folder / "rank1-values.bin"
    first = (folder / "rank0-keys.txt").read_text().splitlines()[0]
    lines = keys.read_text().splitlines()
    # A sampler pads with what rank 0 has; the last image is gone.
    keys.write_text("".join(f"{line}\n" for line in [*lines[:-1], first]))

    source = opened(tmp_path)

    index = source.facts.index
    assert index.num_rows == len(truth) - 1
    assert any("1 views are in no file" in note for note in source.facts.notes)
    assert any("1 records repeat" in note for note in source.facts.notes)
    views = index.views()
    labels = np.concatenate([source.read(part) for part in source.parts])
    rows = [truth.row(int(i), int(s)) for i, s in zip(views.sample_ids, views.seeds, strict=True)]
    np.testing.assert_allclose(labels, truth.labels[rows], rtol=2**-10, atol=1e-6)
    assert len(values.read_bytes()) == 5 * RECORD


def test_epochs_may_begin_later(tmp_path: Path) -> None:
    write_tinyvit(tmp_path, **SMALL)
    for file in (tmp_path / "logits_top4_epoch0").iterdir():
        file.unlink()
    (tmp_path / "logits_top4_epoch0").rmdir()
    assert opened(tmp_path).facts.index.seeds.tolist() == [1, 2]


def test_what_inspect_shows(tmp_path: Path) -> None:
    write_tinyvit(tmp_path, **SMALL)
    finding = finding_of(TinyVitImporter(), tmp_path)
    assert finding.inside.pop("bytes") > 30 * RECORD
    assert finding.inside == {"epochs": 3, "ranks": 2, "k": 4}
    assert TinyVitImporter().detect(tmp_path / "logits_top4_epoch0") is None
    assert TinyVitImporter().detect(tmp_path / "missing") is None


def test_foreign_files_are_named(tmp_path: Path) -> None:
    write_tinyvit(tmp_path, **SMALL)
    (tmp_path / "log_rank0.log").touch()
    (tmp_path / "logits_top4_epoch1" / ".DS_Store").touch()
    finding = finding_of(TinyVitImporter(), tmp_path)
    assert finding.foreign == ("log_rank0.log", "logits_top4_epoch1/.DS_Store")
    with pytest.raises(LabelFileError, match=r"log_rank0\.log is no file"):
        TinyVitImporter().open(tmp_path, LOST)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("logits_top4_epoch1/rank0-keys.txt", "lacks rank0-keys.txt"),
        ("logits_top4_epoch1/rank1-values.bin", "lacks rank1-values.bin"),
    ],
)
def test_files_that_are_missing(tmp_path: Path, name: str, says: str) -> None:
    write_tinyvit(tmp_path, **SMALL)
    (tmp_path / name).unlink()
    with pytest.raises(LabelFileError) as raised:
        opened(tmp_path)
    one_line(raised.value, str((tmp_path / name).parent), says)


def test_ranks_and_epochs_that_are_missing(tmp_path: Path) -> None:
    write_tinyvit(tmp_path, **SMALL)
    for name in ("keys.txt", "values.bin"):
        (tmp_path / "logits_top4_epoch2" / f"rank1-{name}").unlink()
    with pytest.raises(LabelFileError, match="epoch2 lacks rank 1"):
        opened(tmp_path)
    write_tinyvit(tmp_path / "again", **SMALL)
    (tmp_path / "again" / "logits_top4_epoch1").rename(tmp_path / "elsewhere")
    with pytest.raises(LabelFileError, match="lacks epoch 1 of 0 to 2"):
        opened(tmp_path / "again")


def test_another_k(tmp_path: Path) -> None:
    write_tinyvit(tmp_path, **SMALL)
    write_tinyvit(tmp_path, **SMALL | {"k": 3})
    with pytest.raises(LabelFileError, match=r"keep \[3, 4\] classes"):
        opened(tmp_path)


@pytest.mark.parametrize("by", [-RECORD, -1, 1, RECORD])
def test_another_length(tmp_path: Path, by: int) -> None:
    write_tinyvit(tmp_path, **SMALL)
    file = tmp_path / "logits_top4_epoch1" / "rank1-values.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:by] if by < 0 else whole + bytes(by))
    with pytest.raises(LabelFileError) as raised:
        opened(tmp_path)
    one_line(raised.value, str(file), f"{len(whole) + by} bytes", "5 keys of 20 bytes")


@pytest.mark.parametrize(
    ("at", "stored", "kind", "says"),
    [
        (4, np.int16(-1), LabelFileError, "record 3: class ID -1 is none of the 12"),
        (4, np.int16(12), LabelFileError, "record 3: class ID 12 is none of the 12"),
        (12, np.float16(np.nan), LabelValueError, "record 3: no probabilities"),
        (12, np.float16(np.inf), LabelValueError, "record 3: no probabilities"),
        (12, np.float16(-0.5), LabelValueError, "record 3: no probabilities"),
        (12, np.float16(1.5), LabelValueError, "record 3: no probabilities"),
    ],
)
def test_bad_values_are_named(
    tmp_path: Path, at: int, stored: np.generic, kind: type[DataError], says: str
) -> None:
    write_tinyvit(tmp_path, **SMALL)
    file = tmp_path / "logits_top4_epoch1" / "rank1-values.bin"
    content = bytearray(file.read_bytes())
    content[3 * RECORD + at : 3 * RECORD + at + 2] = stored.tobytes()
    file.write_bytes(content)
    with pytest.raises(kind) as raised:
        opened(tmp_path)
    one_line(raised.value, str(file), says)


def test_keys_that_are_wrong(tmp_path: Path) -> None:
    write_tinyvit(tmp_path, **SMALL)
    file = tmp_path / "logits_top4_epoch1" / "rank1-keys.txt"
    lines = file.read_text().splitlines()
    file.write_text("".join(f"{line}\n" for line in [*lines[:-1], lines[0]]))
    with pytest.raises(LabelFileError, match=r"line 5: .* is there twice"):
        opened(tmp_path)
    file.write_text("".join(f"{line}\n" for line in [*lines[:-1], " "]))
    with pytest.raises(LabelFileError, match="line 5: a key is empty"):
        opened(tmp_path)
    file.write_bytes(b"\xff\xfe\n" * 5)
    with pytest.raises(LabelFileError, match=r"rank1-keys\.txt"):
        opened(tmp_path)


def test_the_classes_must_be_known(tmp_path: Path) -> None:
    write_tinyvit(tmp_path, **SMALL)
    with pytest.raises(InvalidRequestError, match="how many classes"):
        opened(tmp_path, ImportOptions())
    with pytest.raises(InvalidRequestError, match="keeps 4 classes a label, but there are 3"):
        opened(tmp_path, ImportOptions(class_names=names(3)))


def test_files_that_change_are_refused(tmp_path: Path) -> None:
    write_tinyvit(tmp_path, **SMALL)
    source = opened(tmp_path)
    file = tmp_path / "logits_top4_epoch0" / "rank0-values.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(LabelFileError, match="has changed since it was scanned"):
        source.read(source.parts[0])
