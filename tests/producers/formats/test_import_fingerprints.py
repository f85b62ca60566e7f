"""Imports with images have their fingerprints; students of others are told that there are none."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast import UNCHECKED, Representation
from labelcast.errors import DifferentImageError, MisalignedLabelsError
from labelcast.label_set.fingerprints import FileReading, FingerprintKind
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import (
    ImageFolder,
    LabelSetSource,
    SampleTable,
    SoftLabelLoader,
    UncomparedImagesWarning,
)
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions, PermutationDraws
from tests.factories.advice import Case, try_advice
from tests.producers.formats.writers.producer_pixels import folder_sizes, write_image_folder
from tests.producers.formats.writers.sre2l import write_sre2l

SAMPLES, CLASSES, VIEW, EPOCHS = 24, 4, 32, 2


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    paths, _ = write_image_folder(root / "images", samples=SAMPLES, classes=CLASSES)
    write_sre2l(
        root / "files",
        samples=SAMPLES,
        epochs=EPOCHS,
        batch_size=8,
        classes=CLASSES,
        view=VIEW,
        mix="none",
        order="old",
        sizes=folder_sizes(paths),
    )
    return root


def opened(made: Path, **options: Any) -> Import:
    usual: dict[str, Any] = {"view_size": VIEW, "draws": PermutationDraws.ONE}
    return Import.open(made / "files", ImportOptions(**usual | options))


def train(label_set: LabelSetDirectory, images: Path, **options: Any) -> int:
    source, folder = LabelSetSource(label_set, Representation.codes()), ImageFolder(images)
    seeds = range(EPOCHS)
    return len(list(SoftLabelLoader(folder, source, seeds=seeds, batch_size=8, **options)))


def test_an_import_with_images_is_compared_with_them(made: Path, tmp_path: Path) -> None:
    labels = opened(made, images=made / "images")
    dense, label_set = (
        labels.write_dense(tmp_path / "dense"),
        labels.write_label_set(tmp_path / "s"),
    )
    table = SampleTable(ImageFolder(made / "images"))
    known = table.fingerprints()
    for found in (dense.fingerprints, label_set.fingerprints()):
        assert found is not None
        assert (found.kind, found.reading) == (
            FingerprintKind.FILES,
            FileReading("RGB", "position"),
        )
        np.testing.assert_array_equal(found.values, known.values)
    assert label_set.contract.dataset == dense.description.dataset == table.digest()
    assert train(label_set, made / "images") == EPOCHS * 3
    other = tmp_path / "other"
    shutil.copytree(made / "images", other)
    first, second, *_ = ImageFolder(other).paths
    shutil.copyfile(other / first, other / second)
    with pytest.raises(DifferentImageError, match=f"sample ID 1 .{second}"):
        train(label_set, other)


def test_students_of_an_import_without_images_are_told(made: Path, tmp_path: Path) -> None:
    label_set = opened(made, num_samples=SAMPLES).write_label_set(tmp_path / "set")
    assert label_set.fingerprints() is None
    assert label_set.manifest.parts == ()
    # Names of classes are unknown, their number is not.
    with pytest.warns(UncomparedImagesWarning):
        assert train(label_set, made / "images") == EPOCHS * 3


@pytest.mark.filterwarnings("ignore::labelcast.torch.UncomparedImagesWarning")
def test_no_part_of_a_folder_that_lost_an_image_gets_the_labels_of_others(
    made: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(made / "images", folder)
    *_, middle, _, last = ImageFolder(folder).paths
    left = np.arange(SAMPLES - 1, dtype=np.uint64)
    plain = opened(made, num_samples=SAMPLES).write_label_set(tmp_path / "plain")

    def without(image: str, label_set: LabelSetDirectory, **options: Any) -> int:
        content = (folder / image).read_bytes()
        (folder / image).unlink()
        try:
            return train(label_set, folder, **options)
        finally:
            (folder / image).write_bytes(content)

    def lost(_: Path) -> None:
        with pytest.raises(MisalignedLabelsError, match="Labels imported with --images"):
            without(middle, plain)
        without(middle, plain, sample_ids=left)

    def restored_or_told_or_the_last(_: Path) -> None:
        assert train(plain, folder) == EPOCHS * 3
        with_images = opened(made, images=made / "images").write_label_set(tmp_path / "with")
        with pytest.raises(DifferentImageError, match=f"sample ID {SAMPLES - 3} "):
            without(middle, with_images, sample_ids=left[-1:] - np.uint64(1))
        named: dict[str, Any] = {"sample_ids": left, "fingerprints": UNCHECKED}
        assert without(last, plain, **named) == EPOCHS * 3

    says = (
        "Restore what was added, removed or renamed since the labels were made: sample IDs are"
        " positions, so that one image more or less moves those of all that follow. Labels imported"
        " with --images tell which differ; only where the last images alone were added or removed,"
        " name the others with sample_ids= and fingerprints=UNCHECKED"
    )
    try_advice(Case(says, lost, restored_or_told_or_the_last), tmp_path)
