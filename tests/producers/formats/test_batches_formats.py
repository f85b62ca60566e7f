"""Every producer of epochs of mixed batches: what was written is what is read, view by view."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from labelcast.augmentation import NO_OPERATION, OPERATIONS, Mix, RecordedPolicy
from labelcast.codec import LabelKind
from labelcast.codec.topk import MISSING_LOGIT, Recovery
from labelcast.label_set import SampleOrder
from labelcast.views import Views
from labelcast_producers.formats.batches import BATCH_IMPORTERS, BatchImporter
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.shared.foreign_rows import ForeignRows
from labelcast_producers.formats.source import (
    Finding,
    ImportOptions,
    PermutationDraws,
    Source,
    TopK,
)
from tests.producers.formats.batch_refusals import SMALL, UNTOLD
from tests.producers.formats.stored_files import edit, load, put
from tests.producers.formats.writers.batches import Batch
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.producer_pixels import write_image_folder
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.truth import Truth

NAMES = tuple(f"class {number}" for number in range(12))
NAMED = ImportOptions(class_names=NAMES)


def detected(path: Path) -> tuple[BatchImporter, Finding]:
    """The one importer that recognises files."""
    found = [(each, each.detect(path)) for each in BATCH_IMPORTERS]
    ((importer, finding),) = [(each, finding) for each, finding in found if finding is not None]
    return importer, finding


def opened(path: Path, options: ImportOptions = UNTOLD) -> Source:
    return detected(path)[0].open(path, options)


def collate(batch: Batch, layers: int = 2) -> list[list[torch.Tensor]]:
    """RandAugment of a batch as torch collates triplets of each image and layer."""
    rng = np.random.default_rng([batch.epoch, batch.number])
    collated = []
    for layer in range(layers):
        operations = rng.integers(len(OPERATIONS), size=len(batch.sample_ids))
        parameters = rng.uniform(0, 9, len(batch.sample_ids))
        parameters[operations < 3] = -99
        dtype = torch.int64 if layer else torch.float16
        collated.append(
            [
                torch.from_numpy(operations),
                torch.from_numpy(rng.random(len(operations))).half(),
                torch.from_numpy(parameters).to(dtype),
            ]
        )
    return collated


@dataclass(frozen=True)
class Case:
    write: Callable[..., Truth]
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: ImportOptions = UNTOLD
    order: SampleOrder = SampleOrder.GIVEN


UNVERIFIED = SampleOrder.UNVERIFIED
HALF, FULL = {"dtype": torch.float16}, {"dtype": torch.float32}
OLD = ImportOptions(draws=PermutationDraws.ONE)
TEN = ImportOptions(num_samples=10)
CASES = {
    "sre2l-half": Case(write_sre2l, "sre2l", HALF, order=UNVERIFIED),
    "sre2l-full": Case(write_sre2l, "sre2l", FULL, order=UNVERIFIED),
    "sre2l-mixup": Case(write_sre2l, "sre2l", {"mix": "mixup"}, order=UNVERIFIED),
    "sre2l-unmixed": Case(write_sre2l, "sre2l", {"mix": "none"}, order=UNVERIFIED),
    "sre2l-old": Case(write_sre2l, "sre2l", {"order": "old"}, OLD, UNVERIFIED),
    "sre2l-dropped": Case(write_sre2l, "sre2l", {"drop_last": True}, TEN, UNVERIFIED),
    "sre2l-one-batch": Case(write_sre2l, "sre2l", {"batch_size": 16}, TEN, UNVERIFIED),
    "lpld": Case(write_lpld, "lpld"),
    "lpld-kept": Case(write_lpld, "lpld", {"drop_last": False, "mix": "mixup"}),
    "lpld-pruned": Case(write_lpld, "lpld", {"epochs": 1.5} | FULL),
    "lpld-half-epoch": Case(write_lpld, "lpld", {"epochs": 0.5}),
    "lpld-cutout": Case(write_lpld, "lpld", {"cutout": True}),
    "lpqld": Case(write_lpqld, "lpqld", options=NAMED),
    "lpqld-k1": Case(write_lpqld, "lpqld", {"k": 1, "epochs": 1.5}, NAMED),
    "lpqld-kept": Case(write_lpqld, "lpqld", {"drop_last": False, "mix": "mixup"}, NAMED),
    "lpqld-unmixed": Case(write_lpqld, "lpqld", {"mix": "none"}, NAMED),
    "lpqld-augmented": Case(write_lpqld, "lpqld", {"parameters": collate}, NAMED),
    "lpqld-dense": Case(write_lpqld, "lpqld", {"quantised": False}),
    "lpqld-dense-augmented": Case(
        write_lpqld, "lpqld", {"quantised": False, "parameters": collate} | FULL
    ),
    # As many classes as views, or as k: nothing but types and shapes tells what is what.
    "lpqld-square": Case(write_lpqld, "lpqld", {"k": 4}, NAMED),
    "gvbsm-square": Case(write_gvbsm, "gvbsm", {"classes": 4}),
    "gvbsm": Case(write_gvbsm, "gvbsm"),
    "gvbsm-mixup": Case(write_gvbsm, "gvbsm", {"mix": "mixup"} | FULL),
    "edc": Case(write_edc, "edc"),
    "edc-shuffled": Case(write_edc, "edc", {"shuffled": True}),
    "edc-applied": Case(
        write_edc, "edc", {"shuffled": True}, options=ImportOptions(apply_patches=True)
    ),
    "edc-not-shuffled": Case(write_edc, "edc", options=ImportOptions(apply_patches=True)),
    "hald": Case(write_hald, "hald", options=ImportOptions(temperature=20.0)),
    "hald-dropped": Case(
        write_hald, "hald", {"drop_last": True, "mix": "none"}, ImportOptions(temperature=20.0)
    ),
}


def check_labels(source: Source, truth: Truth, rows: NDArray[np.int64]) -> None:
    labels = ForeignRows(source).gather(rows)
    if truth.top_values is None:
        assert labels.dtype == truth.labels.dtype
        np.testing.assert_array_equal(labels, truth.labels)
        return
    kept = np.isfinite(truth.labels)
    np.testing.assert_array_equal(labels[kept], truth.labels[kept].astype(np.float16))
    assert (labels[~kept] == MISSING_LOGIT).all()


def check_records(source: Source, truth: Truth, rows: NDArray[np.int64]) -> None:
    records, policy = source.records(), source.facts.policy
    assert records is not None
    assert isinstance(policy, RecordedPolicy)
    assert policy.mix == Mix(truth.mix)
    assert len(records) == len(truth)
    records = records[rows]
    np.testing.assert_array_equal(records.crop, truth.coords)
    flip = truth.flip if truth.flip is not None else np.zeros(len(truth), dtype=np.bool_)
    np.testing.assert_array_equal(records.flip, flip)
    mixed = truth.partner_sample_ids is not None
    partners = truth.partner_sample_ids if mixed else truth.sample_ids
    np.testing.assert_array_equal(records.partner_sample_ids, partners)
    np.testing.assert_array_equal(records.partner_seeds, truth.seeds)
    np.testing.assert_array_equal(records.lam, truth.lam if truth.lam is not None else 1.0)
    box = truth.box if truth.box is not None else np.zeros((len(truth), 4))
    np.testing.assert_array_equal(records.box, box)
    if truth.patches is not None and policy.patch_grid > 1:
        np.testing.assert_array_equal(records.patches, truth.patches.reshape(-1, 4))


@pytest.mark.parametrize("name", CASES)
def test_every_view_is_as_it_was_written(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    truth = case.write(tmp_path, **SMALL | dict(case.arguments))

    importer, finding = detected(tmp_path)
    source = importer.open(tmp_path, case.options)

    assert importer.name == finding.format == source.facts.format == case.name
    assert finding.foreign == ()
    facts = source.facts
    assert (facts.num_classes, facts.order) == (truth.labels.shape[1], case.order)
    assert (str(facts.label_kind), facts.temperature) == (truth.label_kind, truth.temperature)
    assert facts.index.num_rows == len(truth)
    rows, present = facts.index.rows(Views(truth.sample_ids, truth.seeds))
    assert present.all()
    assert sorted(rows.tolist()) == list(range(len(truth)))
    check_labels(source, truth, rows)
    check_records(source, truth, rows)


def test_top_k_logits_are_renormalised(tmp_path: Path) -> None:
    write_lpqld(tmp_path, **SMALL)
    facts = opened(tmp_path, NAMED).facts
    assert facts.top_k == TopK(5, Recovery.RENORMALISE)
    assert facts.label_kind is LabelKind.LOGITS


def test_rand_augment_is_recorded_where_it_was_applied(tmp_path: Path) -> None:
    truth = write_lpqld(tmp_path, **SMALL, parameters=collate)
    source = opened(tmp_path, NAMED)
    records = source.records()
    assert records is not None
    assert isinstance(source.facts.policy, RecordedPolicy)
    assert source.facts.policy.operations == 2
    at, stored = 0, sorted(tmp_path.glob("*.tar"))
    for path in stored:
        layers = load(path)[2]
        size = len(layers[0][0])
        views = Views(truth.sample_ids[at : at + size], truth.seeds[at : at + size])
        rows = source.facts.index.rows(views)[0].tolist()
        for position, row in enumerate(rows):
            for layer, (operation, decision, parameter) in enumerate(layers):
                number, argument = int(operation[position]), float(parameter[position])
                applied = float(decision[position]) < 0.5
                expected = number if applied else NO_OPERATION
                assert records.operations[row, layer] == expected
                takes = applied and argument != -99
                assert records.magnitudes[row, layer] == (argument if takes else 0)
        at += size
    assert len(stored) == 6


def test_cutouts_are_recorded(tmp_path: Path) -> None:
    truth = write_lpld(tmp_path, **SMALL, cutout=True)
    source = opened(tmp_path)
    records = source.records()
    assert records is not None
    assert isinstance(source.facts.policy, RecordedPolicy)
    assert source.facts.policy.cutout
    stored = load(tmp_path / "epoch_0" / "batch_1.tar")[1]
    views = Views(truth.sample_ids[4:8], truth.seeds[4:8])
    rows = source.facts.index.rows(views)[0]
    np.testing.assert_array_equal(records.cutout[rows], stored.numpy())
    assert not records.flip.any()


def test_orders_of_columns_and_rows_are_patches(tmp_path: Path) -> None:
    write_edc(tmp_path, **SMALL | {"epochs": 1, "samples": 4}, shuffled=True)
    path = tmp_path / "epoch_0" / "batch_0.tar"
    orders = [[[0, 1], [0, 1]], [[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [1, 0]]]
    edit(path, put(7, torch.tensor(orders)))
    assert any("--apply-patches" in note for note in opened(tmp_path).facts.notes)
    source = opened(tmp_path, ImportOptions(apply_patches=True))
    records = source.records()
    assert records is not None
    # As a producer shuffles: columns of an image of its patches' numbers, then rows.
    image = np.arange(4).reshape(2, 2)
    for sample, (columns, rows) in zip(load(path)[6].tolist(), orders, strict=True):
        shuffled = image[:, columns][rows]
        row = source.facts.index.rows(Views.of(np.array([sample], dtype=np.uint64), 0))[0]
        assert records.patches[row[0]].tolist() == shuffled.reshape(-1).tolist()


def test_numbers_are_patches(tmp_path: Path) -> None:
    write_edc(tmp_path, **SMALL | {"epochs": 1, "samples": 4})
    path = tmp_path / "epoch_0" / "batch_0.tar"
    record = torch.load(path, weights_only=False)
    numbers = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]])
    record[7] = numbers.view(4, 2, 2)
    torch.save(record, path)
    records = opened(tmp_path, ImportOptions(apply_patches=True)).records()
    assert records is not None
    # Rows of one epoch are by sample ID.
    order = torch.argsort(record[6])
    np.testing.assert_array_equal(records.patches, numbers[order].numpy())


def test_what_was_not_shuffled_needs_no_option(tmp_path: Path) -> None:
    write_edc(tmp_path, **SMALL)
    assert not any("--apply-patches" in note for note in opened(tmp_path).facts.notes)


def test_an_image_folder_tells_samples_and_classes(tmp_path: Path) -> None:
    _, hard = write_image_folder(tmp_path / "images", samples=10, classes=5)
    truth = write_lpqld(tmp_path / "files", **SMALL | {"classes": 5, "k": 3, "epochs": 1})
    options = ImportOptions(images=tmp_path / "images", view_size=224)
    facts = opened(tmp_path / "files", options).facts
    assert facts.num_classes == 5
    assert facts.hard_labels is not None
    # One epoch without its last batch: only samples with a label are in the index.
    ids = sorted(truth.sample_ids.tolist())
    assert facts.index.sample_ids.tolist() == ids
    assert facts.hard_labels.tolist() == [hard[sample] for sample in ids]
    assert facts.index.present is None


def test_an_image_list_counts_samples(tmp_path: Path) -> None:
    truth = write_sre2l(tmp_path / "files", **SMALL, drop_last=True)
    (tmp_path / "list.txt").write_text("\n".join(f"a/{n}.png" for n in range(10)) + "\n")
    options = ImportOptions(image_list=tmp_path / "list.txt")
    facts = opened(tmp_path / "files", options).facts
    assert facts.index.rows(Views(truth.sample_ids, truth.seeds))[1].all()


def test_what_was_assumed_is_noted(tmp_path: Path) -> None:
    write_sre2l(tmp_path, **SMALL, drop_last=True)
    finding = detected(tmp_path)[1]
    assert any("--samples" in line for line in finding.missing)
    notes = " ".join(Import.open(tmp_path, ImportOptions()).notes)
    assert "assumed 8 samples" in notes
    assert "two permutations" in notes
    assert "CV-DD" in notes
    told = ImportOptions(num_samples=10, draws=PermutationDraws.TWO)
    notes = " ".join(opened(tmp_path, told).facts.notes)
    assert "assumed" not in notes
    assert "6 of 30 views are absent" in notes


def test_a_last_epoch_may_be_cut_short(tmp_path: Path) -> None:
    truth = write_sre2l(tmp_path, **SMALL)
    (tmp_path / "epoch_2" / "batch_2.tar").unlink()
    (tmp_path / "epoch_2" / "batch_1.tar").unlink()
    source = opened(tmp_path)
    assert "6 of 30 views are absent" in " ".join(source.facts.notes)
    rows, present = source.facts.index.rows(Views(truth.sample_ids, truth.seeds))
    assert present.tolist() == [True] * 24 + [False] * 6
    labels = ForeignRows(source).gather(rows[:24])
    np.testing.assert_array_equal(labels, truth.labels[:24])


@pytest.mark.parametrize("part_bytes", [1, 200, 300])
def test_batches_of_one_file_are_read_together(
    part_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_hald(tmp_path, **SMALL)
    # A batch of four views takes 96 bytes, the last of an epoch 48.
    monkeypatch.setattr("labelcast_producers.formats.batches.source._PART_BYTES", part_bytes)
    source = opened(tmp_path, ImportOptions(temperature=20.0))
    expected = {
        1: [", batch 0", ", batch 1", ", batch 2"],
        200: [", batches 0 to 1", ", batch 2"],
        300: [", batches 0 to 2"],
    }[part_bytes]
    assert [part.at for part in source.parts] == expected * 3
    rows = source.facts.index.rows(Views(truth.sample_ids, truth.seeds))[0]
    check_labels(source, truth, rows)
    check_records(source, truth, rows)


def test_other_things_are_not_ours(tmp_path: Path) -> None:
    assert all(each.detect(tmp_path) is None for each in BATCH_IMPORTERS)
    assert all(each.detect(tmp_path / "nothing") is None for each in BATCH_IMPORTERS)
    # Checkpoints have such names, and anything may be in them.
    torch.save({"weight": torch.zeros(3)}, tmp_path / "epoch_0.tar")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "epoch_1.tar")
    assert all(each.detect(tmp_path) is None for each in BATCH_IMPORTERS)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "batch_0.tar").write_bytes(b"a real tar file")
    assert all(each.detect(tmp_path / "flat") is None for each in BATCH_IMPORTERS)
    (tmp_path / "epochs" / "epoch_0").mkdir(parents=True)
    torch.save([torch.zeros(4, 4), 1], tmp_path / "epochs" / "epoch_0" / "batch_0.tar")
    assert all(each.detect(tmp_path / "epochs") is None for each in BATCH_IMPORTERS)
