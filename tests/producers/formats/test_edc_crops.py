"""EDC divides crops by the wrong side: what its teacher saw is what comes in, also of oblongs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labelcast.augmentation import RecordedPolicy
from labelcast.errors import LabelFileError
from labelcast.torch import ImageFolder
from labelcast.torch.images.replay_recorded import render_recorded
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.producer_pixels import (
    cutmix_batch,
    folder_sizes,
    render_view,
    write_image_folder,
)
from tests.producers.formats.writers.truth import Truth

SAMPLES, CLASSES, VIEW = 12, 4, 32
# Half a step of 8 bits from rounding in Pillow's resize, twice where two views are blended.
PIXEL_TOLERANCE = 1.2 / 255


@pytest.fixture
def written(tmp_path: Path) -> tuple[list[Path], Truth]:
    paths, _ = write_image_folder(tmp_path / "images", samples=SAMPLES, classes=CLASSES)
    sizes = folder_sizes(paths)
    assert any(height > width for height, width in sizes)
    assert any(height < width for height, width in sizes)
    truth = write_edc(
        tmp_path / "files",
        samples=SAMPLES,
        epochs=2,
        batch_size=SAMPLES,
        classes=CLASSES,
        view=VIEW,
        sizes=sizes,
    )
    return paths, truth


def test_pixels_are_those_of_the_producers_loader(
    written: tuple[list[Path], Truth], tmp_path: Path
) -> None:
    paths, truth = written
    options = ImportOptions(images=tmp_path / "images", view_size=VIEW)
    source = Import.open(tmp_path / "files", options).source
    records, policy = source.records(), source.facts.policy
    assert records is not None
    assert isinstance(policy, RecordedPolicy)
    folder = ImageFolder(tmp_path / "images")
    images = [folder[sample][0] for sample in range(SAMPLES)]
    for epoch in range(2):
        _, _, mix_index, _, box, _, ids, _ = torch.load(
            tmp_path / "files" / f"epoch_{epoch}" / "batch_0.tar", weights_only=False
        )
        drawn = [_drawn(truth, sample, epoch, paths) for sample in ids.tolist()]
        expected = cutmix_batch(torch.stack(drawn), mix_index, box)
        # Rows of an epoch are by sample ID.
        rows = epoch * SAMPLES + ids.numpy()
        own, partners = records[rows], records[rows][mix_index.numpy()]
        shown = render_recorded(
            policy,
            own,
            [images[sample] for sample in ids.tolist()],
            partners,
            [images[sample] for sample in ids[mix_index].tolist()],
        )
        assert float((shown - expected).abs().max()) <= PIXEL_TOLERANCE


def _drawn(truth: Truth, sample: int, epoch: int, paths: list[Path]) -> torch.Tensor:
    row = truth.row(sample, epoch)
    assert truth.coords is not None
    assert truth.flip is not None
    with Image.open(paths[sample]) as image:
        return render_view(
            image.convert("RGB"), truth.coords[row].tolist(), bool(truth.flip[row]), VIEW
        )


def test_crops_of_oblongs_are_not_guessed_without_the_images(
    written: tuple[list[Path], Truth], tmp_path: Path
) -> None:
    del written
    with pytest.raises(
        LabelFileError, match=r"coords, row \d+: .*square image: .*; give --images$"
    ):
        Import.open(tmp_path / "files", ImportOptions(view_size=VIEW))


def test_other_images_are_noticed(written: tuple[list[Path], Truth], tmp_path: Path) -> None:
    for path in written[0]:
        with Image.open(path) as image:
            turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(path)
    with pytest.raises(LabelFileError, match="give the --images that were labelled"):
        Import.open(tmp_path / "files", ImportOptions(images=tmp_path / "images", view_size=VIEW))


def test_square_images_need_not_be_at_hand(tmp_path: Path) -> None:
    truth = write_edc(
        tmp_path / "files", samples=SAMPLES, epochs=1, batch_size=5, classes=CLASSES, view=VIEW
    )
    labels = Import.open(tmp_path / "files", ImportOptions(view_size=VIEW))
    (note,) = [note for note in labels.notes if "taken to be square" in note]
    assert "top and height by the width, its left and width by the height" in note
    assert "no --images" in note
    records = labels.source.records()
    assert records is not None
    assert truth.coords is not None
    order = np.argsort(truth.sample_ids)
    np.testing.assert_array_equal(records.crop, truth.coords[order])
