"""What a teacher has confirmed is not doubted, and files that name samples need no sampler."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from labelcast.errors import LabelFileError
from labelcast.label_set import SampleOrder
from labelcast_producers.formats.importing import Import, SampleOrderWarning
from labelcast_producers.formats.source import ImportOptions, PermutationDraws
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.producer_pixels import (
    cutmix_batch,
    folder_sizes,
    render_view,
    write_image_folder,
)
from tests.producers.formats.writers.sre2l import write_sre2l

SAMPLES, CLASSES, VIEW = 24, 4, 32


class Teacher(nn.Module):
    """Linear in the colours of an image's quarters.

    Args:
        certain: of one class, whatever it sees.
    """

    def __init__(self, certain: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(12, CLASSES, generator=generator))
        self.bias = 20.0 * torch.eye(CLASSES)[0] * certain

    def forward(self, images: Tensor) -> Tensor:
        quarters = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)
        logits: Tensor = 9 * quarters @ self.weight + 9 * self.bias
        return logits


def labelled(root: Path, write: Any, teacher: Teacher | None = None, **arguments: Any) -> Path:
    """Files whose labels are the teacher's, of views that Pillow rendered."""
    paths, _ = write_image_folder(root / "images", samples=SAMPLES, classes=CLASSES)
    truth = write(
        root / "files",
        samples=SAMPLES,
        epochs=3,
        batch_size=8,
        classes=CLASSES,
        view=VIEW,
        sizes=folder_sizes(paths),
        **arguments,
    )
    teacher, at = teacher or Teacher(), 0
    for epoch in range(3):
        for number in range(3):
            file = root / "files" / f"epoch_{epoch}" / f"batch_{number}.tar"
            record = torch.load(file, weights_only=False)
            views = []
            for row in range(at, at + len(record[1])):
                with Image.open(paths[int(truth.sample_ids[row])]) as image:
                    drawn = truth.coords[row].tolist(), bool(truth.flip[row])
                    views.append(render_view(image.convert("RGB"), *drawn, VIEW))
            pixels = cutmix_batch(torch.stack(views), record[2], record[4])
            with torch.no_grad():
                record[5] = teacher(pixels).half()
            torch.save(record, file)
            at += len(views)
    return root / "files"


def told(root: Path, **options: Any) -> ImportOptions:
    return ImportOptions(images=root / "images", view_size=VIEW, **options)


def test_nothing_doubts_an_order_that_the_teacher_confirmed(tmp_path: Path) -> None:
    files = labelled(tmp_path, write_sre2l, order="old")
    labels = Import.open(files, told(tmp_path))
    doubted = " ".join(labels.notes)
    assert "no teacher confirmed" in doubted
    assert "CV-DD" in doubted
    assert labels.verify(Teacher(), device="cpu").draws is PermutationDraws.ONE
    assert labels.notes == ()
    # Labels of this teacher name its own classes, which are not those of the directories.
    labels.write_dense(tmp_path / "dense")
    assert labels.warnings == ()
    assert labels.facts.order is SampleOrder.VERIFIED


def test_a_teacher_confirms_an_order_that_its_classes_do_not_tell(tmp_path: Path) -> None:
    files = labelled(tmp_path, write_sre2l, Teacher(certain=True))
    labels = Import.open(files, told(tmp_path))
    with pytest.warns(SampleOrderWarning, match=r"have the teacher confirm .* \(--verify-with\)"):
        labels.write_dense(tmp_path / "unverified")
    labels = Import.open(files, told(tmp_path))
    labels.verify(Teacher(certain=True), device="cpu")
    labels.write_dense(tmp_path / "verified")
    assert labels.warnings == ()
    assert labels.facts.order is SampleOrder.VERIFIED


@pytest.mark.parametrize("draws", PermutationDraws)
def test_given_ids_are_confirmed_without_a_word_of_draws(
    tmp_path: Path, draws: PermutationDraws
) -> None:
    files = labelled(tmp_path, write_gvbsm)
    labels = Import.open(files, told(tmp_path, draws=draws))
    assert labels.verify(Teacher(), device="cpu").draws is PermutationDraws.AUTO
    assert labels.facts.order is SampleOrder.VERIFIED
    assert labels.options.draws is draws
    paths = sorted((tmp_path / "images").rglob("*.png"))
    listed = [str(path.relative_to(tmp_path / "images")) for path in paths]
    (tmp_path / "list.txt").write_text("\n".join(reversed(listed)))
    wrong = Import.open(files, told(tmp_path, draws=draws, image_list=tmp_path / "list.txt"))
    with pytest.raises(LabelFileError, match="this order: top-1") as raised:
        wrong.verify(Teacher(), device="cpu")
    assert "draws" not in raised.value.message


def test_images_and_not_draws_are_suspected_where_files_name_samples(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "images", samples=40, classes=CLASSES)
    files = tmp_path / "files"
    write_gvbsm(files, samples=40, epochs=3, batch_size=8, classes=CLASSES, view=VIEW, mix="none")
    Import.open(files, told(tmp_path)).write_dense(tmp_path / "right")
    for file in files.glob("epoch_2/*.tar"):
        record = torch.load(file, weights_only=False)
        record[5] = record[5].roll(1, dims=1)
        torch.save(record, file)
    labels = Import.open(files, told(tmp_path))
    with pytest.raises(LabelFileError, match=r"seed 2 .* check the files, --images") as raised:
        labels.write_dense(tmp_path / "wrong")
    assert "--draws" not in raised.value.message
    assert not (tmp_path / "wrong").exists()
