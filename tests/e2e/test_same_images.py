"""From a teacher to a student through the service: images that are not the teacher's are refused.

Each change of a folder is one that people make without thinking of labels. Labels of the changed
folder come under the sample IDs of the teacher's, which the canary cannot see.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from labelcast import UNCHECKED, Expectation, LabelSet, Representation
from labelcast.augmentation import AugmentationPolicy
from labelcast.errors import (
    ContractMismatchError,
    DifferentImageError,
    LabelcastError,
    MisalignedLabelsError,
)
from labelcast.label_set import digest_of
from labelcast.label_set.fingerprints import FingerprintKind
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import Batch, ImageFolder, LabelSetSource, SampleTable, SoftLabelLoader
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import choose_encoder
from labelcast_producers.relabel.relabeller import relabel
from tests.e2e.running_service import RunningService
from tests.factories import folders
from tests.factories.command import run_labelcast

pytestmark = pytest.mark.e2e

POLICY = AugmentationPolicy(view_height=16, view_width=16, crop_scale=(0.8, 1.0))
SEEDS = 2
COUNT = 60


@pytest.fixture(scope="module")
def teachers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.write_digits(tmp_path_factory.mktemp("teacher") / "digits")


def labelled(
    directory: Path, folder: Path, ids: Literal["position", "name"] = "position"
) -> LabelSetDirectory:
    relabel(
        folders.NearestMean(),
        SampleTable(ImageFolder(folder, ids=ids)),
        POLICY,
        seeds=SEEDS,
        out=directory / "dense",
        teacher_name="nearest mean",
        device="cpu",
    )
    # What the next process finds there, not what this one remembers.
    dense = DenseLabels.open(directory / "dense")
    encoder = choose_encoder("raw:fp16", dense.description, temperature=1.0, device="cpu").encoder
    return write_label_set(dense, encoder, directory / "set")


@pytest.fixture(scope="module")
def label_set(
    service: RunningService, teachers_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LabelSet]:
    on_disk = labelled(tmp_path_factory.mktemp("labels"), teachers_folder)
    service.push(on_disk, "digits")
    with service.client() as client:
        yield client.open("digits")


@pytest.fixture
def folder(teachers_folder: Path, tmp_path: Path) -> Path:
    """A student's copy."""
    copy = tmp_path / "digits"
    shutil.copytree(teachers_folder, copy)
    return copy


def train(label_set: LabelSet, dataset: Any, **options: Any) -> list[Batch]:
    source = LabelSetSource(label_set, Representation.codes())
    seeds = range(SEEDS)
    return list(SoftLabelLoader(dataset, source, seeds=seeds, batch_size=16, **options))


HOW = [
    {"keep_image_bytes": 2**30},
    {"keep_image_bytes": 0},
    {"keep_image_bytes": 0, "image_workers": 2},
]


@pytest.mark.parametrize("how", HOW, ids=["kept", "read", "workers"])
def test_the_teachers_images_train_a_student(
    label_set: LabelSet, folder: Path, how: dict[str, Any]
) -> None:
    assert sum(len(batch.views) for batch in train(label_set, ImageFolder(folder), **how)) == 120


@pytest.mark.parametrize("how", HOW, ids=["kept", "read", "workers"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (folders.without_first_image, MisalignedLabelsError, "of 60 samples, this data set has 59"),
        (folders.with_image_renamed_in_its_class, DifferentImageError, r"\(\d/0\d\.png\)"),
        (folders.with_a_class_more, ContractMismatchError, "of 10 classes, this data set has 11"),
        (folders.with_a_class_renamed, ContractMismatchError, "classes with other names"),
        (folders.with_image_encoded_again, DifferentImageError, r"27 \(4/03\.png\)"),
        (folders.with_image_replaced, DifferentImageError, r"27 \(4/03\.png\)"),
    ],
)
def test_other_images_are_refused_before_a_label_is_used_for_them(
    label_set: LabelSet,
    folder: Path,
    how: dict[str, Any],
    change: Callable[[Path], None],
    error: type[LabelcastError],
    message: str,
) -> None:
    change(folder)
    with pytest.raises(error, match=message):
        train(label_set, ImageFolder(folder), **how)


def test_neither_canary_nor_ids_see_what_the_comparison_sees(
    label_set: LabelSet, teachers_folder: Path, folder: Path, tmp_path: Path
) -> None:
    folders.with_image_renamed_in_its_class(folder)
    renamed = ImageFolder(folder)
    with pytest.raises(ContractMismatchError, match="control views look otherwise"):
        train(label_set, renamed, fingerprints=UNCHECKED)
    batches = train(label_set, renamed, fingerprints=UNCHECKED, control_views=UNCHECKED)
    # What the teacher says of the images that the student saw, by sample and seed.
    own = labelled(tmp_path / "own", folder)
    wrong = 0
    for batch in batches:
        said = own.labels(batch.views.sample_ids, batch.views.seeds)
        wrong += int((np.abs(batch.labels.numpy() - said).max(axis=1) > 0.01).sum())
    assert wrong > SEEDS * COUNT // 2


def test_a_rank_and_a_federated_client_are_compared_as_well(
    label_set: LabelSet, folder: Path
) -> None:
    ranked = np.arange(1, COUNT, 2, dtype=np.uint64)
    assert sum(
        map(len, (b.views for b in train(label_set, ImageFolder(folder), sample_ids=ranked)))
    )
    own = OwnSamples(folder, range(24, 30))
    with pytest.raises(MisalignedLabelsError, match="name a part that is meant with sample_ids="):
        train(label_set, own)
    batches = train(label_set, own, sample_ids=own.sample_ids)
    assert sum(len(batch.views) for batch in batches) == 6 * SEEDS
    folders.with_image_replaced(folder)
    with pytest.raises(DifferentImageError, match="sample ID 27"):
        train(label_set, OwnSamples(folder, range(24, 30)), sample_ids=own.sample_ids)
    # Who does not hold the image that differs is none the wiser, and need not be.
    others = OwnSamples(folder, range(30, 36))
    assert train(label_set, others, sample_ids=others.sample_ids)


class OwnSamples(ImageFolder):
    """What one site holds of a folder that nobody holds whole, under the IDs of the whole."""

    def __init__(self, folder: Path, positions: range) -> None:
        super().__init__(folder)
        kept = np.array(positions)
        self.paths = tuple(self.paths[at] for at in positions)
        self.hard_labels, self.sample_ids = self.hard_labels[kept], self.sample_ids[kept]


def test_the_data_set_that_is_expected_is_proven_as_it_is_read(
    service: RunningService, label_set: LabelSet, folder: Path
) -> None:
    identity = label_set.contract.dataset
    assert identity == SampleTable(ImageFolder(folder)).digest()
    folders.with_image_replaced(folder)
    with service.client() as client:
        opened = client.open("digits", expect=Expectation(dataset=identity))
        with pytest.raises(DifferentImageError):
            train(opened, ImageFolder(folder))
        with pytest.raises(ContractMismatchError):
            client.open("digits", expect=Expectation(dataset=digest_of(b"another")))


def test_ids_by_name_survive_what_moves_positions(
    service: RunningService, teachers_folder: Path, folder: Path, tmp_path: Path
) -> None:
    service.push(labelled(tmp_path / "named", teachers_folder, "name"), "digits:by-name")
    with service.client() as client:
        named = client.open("digits:by-name")
        found = named.fingerprints()
        assert found is not None
        assert found.reading is not None
        assert found.reading.sample_ids == "name"
        assert len(train(named, ImageFolder(folder, ids="name"))) == 2 * 4
        with pytest.raises(MisalignedLabelsError, match=r"by name, .* ids='name'"):
            train(named, ImageFolder(folder))
        folders.without_first_image(folder)
        rest = ImageFolder(folder, ids="name")
        with pytest.raises(MisalignedLabelsError, match="this data set has 59"):
            train(named, rest)
        whole = labelled(tmp_path / "again", teachers_folder, "name")
        for batch in train(named, rest, sample_ids=rest.sample_ids):
            said = whole.labels(batch.views.sample_ids, batch.views.seeds)
            np.testing.assert_array_equal(batch.labels.numpy(), said)


def test_fingerprints_are_shown_pulled_and_pushed_again(
    service: RunningService, label_set: LabelSet, tmp_path: Path
) -> None:
    out = tmp_path / "pulled"
    done = run_labelcast("pull", "digits", "--address", service.grpc, "--out", str(out))
    assert done.returncode == 0, done.stderr
    pulled, known = LabelSetDirectory(out), label_set.fingerprints()
    again = pulled.fingerprints()
    assert known is not None
    assert again is not None
    assert again.kind is known.kind is FingerprintKind.FILES
    np.testing.assert_array_equal(again.values, known.values)
    shown = run_labelcast("info", str(out))
    assert "fingerprints" in shown.stdout
    assert "of files" in shown.stdout
    assert service.push(pulled, "digits:again") == label_set.digest


def test_who_is_shown_no_images_compares_none(label_set: LabelSet) -> None:
    read = label_set.reader(policy=POLICY)
    assert read(label_set.views([0, 1], 0)).shape == (2, 10)
