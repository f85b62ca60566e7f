"""Images are compared with the teacher's when they are first read, wherever that is."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from labelcast.errors import DifferentImageError, InvalidRequestError
from labelcast.label_set.fingerprints import (
    FileReading,
    FingerprintKind,
    SampleFingerprints,
    fingerprint,
)
from labelcast.label_set.student_side import UNCHECKED
from labelcast.torch import (
    ComparedDataset,
    FileDataset,
    ImageFolder,
    SampleTable,
    UncomparedImagesWarning,
)
from labelcast.torch.images.compared import compared
from tests.factories import folders
from tests.factories.pictures import CLASSES, Pictures

OTHER_IMAGES: list[Callable[[Path], None]] = [
    folders.with_image_renamed_in_its_class,
    folders.with_image_encoded_again,
    folders.with_image_replaced,
]


IDS: tuple[Literal["position", "name"], ...] = ("position", "name")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folders.write_digits(tmp_path / "digits")


def read_all(dataset: Any) -> list[Tensor]:
    return [dataset[at][0] for at in range(len(dataset))]


def test_a_new_name_at_the_same_place_changes_no_id(folder: Path) -> None:
    by_position, by_name = (SampleTable(ImageFolder(folder, ids=ids)) for ids in IDS)
    teachers = by_position.fingerprints()
    (folder / "4" / "05.png").rename(folder / "4" / "99.png")
    renamed = ImageFolder(folder)
    assert "4/99.png" in renamed.paths
    assert len(read_all(ComparedDataset(renamed, teachers))) == 60
    np.testing.assert_array_equal(SampleTable(renamed).sample_ids, by_position.sample_ids)
    other = SampleTable(ImageFolder(folder, ids="name")).sample_ids
    assert len(np.setdiff1d(other, by_name.sample_ids)) == 1


def test_the_teachers_images_are_read_as_they_are(folder: Path) -> None:
    plain = ImageFolder(folder)
    checked = ComparedDataset(plain, SampleTable(plain).fingerprints())
    assert len(checked) == len(plain) == 60
    for _ in range(2):
        for image, other in zip(read_all(checked), read_all(plain), strict=True):
            assert torch.equal(image, other)
    assert checked[-1][1] == plain[-1][1]
    table, own = SampleTable(checked), SampleTable(plain)
    np.testing.assert_array_equal(table.sample_ids, own.sample_ids)
    np.testing.assert_array_equal(table.hard_labels(), own.hard_labels())
    assert table.class_list() == own.class_list()


@pytest.mark.parametrize("change", OTHER_IMAGES)
def test_an_image_that_is_not_the_teachers_is_refused(
    folder: Path, change: Callable[[Path], None]
) -> None:
    known = SampleTable(ImageFolder(folder)).fingerprints()
    change(folder)
    checked = ComparedDataset(ImageFolder(folder), known)
    with pytest.raises(DifferentImageError, match=r"the bytes of its file differ") as caught:
        read_all(checked)
    facts = caught.value.facts
    assert facts["path"] in caught.value.message
    assert f"sample ID {facts['sample_id']} " in caught.value.message
    assert ImageFolder(folder).paths[int(facts["sample_id"])] == facts["path"]


def test_a_file_that_is_no_image_any_more_is_called_another_one(folder: Path) -> None:
    known = SampleTable(ImageFolder(folder)).fingerprints()
    (folder / "4" / "03.png").write_bytes(b"")
    with pytest.raises(DifferentImageError, match=r"4/03\.png"):
        read_all(ComparedDataset(ImageFolder(folder), known))


def test_files_are_told_apart_without_decoding_them(folder: Path) -> None:
    class Undecodable(ImageFolder):
        def decode(self, content: bytes, index: int, /) -> tuple[Tensor, int]:
            raise AssertionError("decoded")

    assert SampleTable(Undecodable(folder)).digest() == SampleTable(ImageFolder(folder)).digest()


def test_other_decoding_of_the_same_files_is_refused(folder: Path) -> None:
    known = SampleTable(ImageFolder(folder)).fingerprints()
    for options in ({"channels": 1}, {"size": 8}):
        other = ImageFolder(folder, **options)  # type: ignore[arg-type]
        assert SampleTable(other).digest() != known.digest()
        with pytest.raises(DifferentImageError, match="same size and channels"):
            ComparedDataset(other, known)


class Counting(ImageFolder):
    """Counts what it is asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[int] = []

    def read_bytes(self, index: int, /) -> bytes:
        self.read.append(index)
        return super().read_bytes(index)


def test_a_file_is_read_once_for_comparing_and_decoding(folder: Path) -> None:
    counting = Counting(folder)
    checked = ComparedDataset(counting, SampleTable(ImageFolder(folder)).fingerprints())
    for at in (5, 7, 5, 5):
        checked[at]
    assert counting.read == [5, 7, 5, 5]


def test_nothing_is_hashed_twice_nor_scanned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = SampleTable(ImageFolder(folder)).fingerprints()
    hashed: list[bytes] = []

    def counted(content: bytes) -> int:
        hashed.append(content)
        return fingerprint(content)

    monkeypatch.setattr("labelcast.torch.images.compared.fingerprint", counted)
    checked = ComparedDataset(ImageFolder(folder), known)
    assert hashed == []
    for _ in range(3):
        for at in (0, 9, 59):
            checked[at]
    assert len(hashed) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_difference_arrives_from_the_worker_that_reads_the_image(
    folder: Path, workers: int
) -> None:
    known = SampleTable(ImageFolder(folder)).fingerprints()
    folders.with_image_replaced(folder)
    loader = DataLoader(
        ComparedDataset(ImageFolder(folder), known),
        batch_size=4,
        num_workers=workers,
        multiprocessing_context="forkserver",
    )
    with pytest.raises(DifferentImageError, match=r"sample ID 27 \(4/03\.png\)"):
        list(loader)


def test_samples_that_the_labels_lack_are_not_compared(folder: Path) -> None:
    part = np.arange(0, 60, 2, dtype=np.uint64)
    known = SampleTable(ImageFolder(folder)).fingerprints(part)
    folders.with_image_replaced(folder)  # sample 27
    assert len(read_all(ComparedDataset(ImageFolder(folder), known))) == 60


def test_pixels_are_compared_where_there_are_no_files() -> None:
    pictures = Pictures()
    known = SampleTable(pictures).fingerprints()
    assert (known.kind, known.reading) == (FingerprintKind.PIXELS, None)
    assert len(read_all(ComparedDataset(Pictures(), known))) == 12
    other = Pictures()
    other.pixels[3, 0, 0, 0] += 0.5
    checked = ComparedDataset(other, known)
    with pytest.raises(DifferentImageError, match="pixels differ") as caught:
        read_all(checked)
    assert caught.value.facts["sample_id"] == str(other.sample_ids[3])


class Records(Pictures):
    """Pictures of one's own that lie in records."""

    reading = FileReading("float32", "given")

    def read_bytes(self, index: int, /) -> bytes:
        return self.pixels[index].numpy().tobytes()

    def decode(self, content: bytes, index: int, /) -> tuple[Tensor, int]:
        pixels = np.frombuffer(content, np.float32).reshape(self.pixels[index].shape)
        return torch.from_numpy(pixels.copy()), self.labels[index]


def test_a_data_set_of_one_s_own_says_which_bytes_its_items_are() -> None:
    assert isinstance(Records(), FileDataset)
    known = SampleTable(Records()).fingerprints()
    assert (known.kind, known.reading) == (FingerprintKind.FILES, Records.reading)
    assert torch.equal(ComparedDataset(Records(), known)[4][0], Records()[4][0])
    with pytest.raises(DifferentImageError, match="bytes of its file"):
        read_all(ComparedDataset(Records(seed=1), known))
    with pytest.raises(InvalidRequestError, match="give it read_bytes and decode"):
        ComparedDataset(Pictures(), known)


def test_a_class_that_changes_pixels_behind_decode_is_refused(folder: Path) -> None:
    class Darker(ImageFolder):
        def __getitem__(self, index: int, /) -> tuple[Tensor, int]:
            image, label = super().__getitem__(index)
            return image / 2, label

    class Decoding(ImageFolder):
        def decode(self, content: bytes, index: int, /) -> tuple[Tensor, int]:
            image, label = super().decode(content, index)
            return image / 2, label

    class Wrapped:
        """Passes everything on but its items."""

        def __init__(self, inner: ImageFolder) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            if name == "inner":
                raise AttributeError(name)
            return getattr(self.inner, name)

        def __len__(self) -> int:
            return len(self.inner)

        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            image, label = self.inner[index]
            return image / 2, label

    plain = SampleTable(ImageFolder(folder)).fingerprints()
    with pytest.raises(
        InvalidRequestError,
        match=r"gives other pixels: override decode\(\) instead",
    ):
        ComparedDataset(Darker(folder), plain)
    darker = ComparedDataset(Decoding(folder), plain)
    assert torch.equal(darker[0][0], ImageFolder(folder)[0][0] / 2)
    wrapped = Wrapped(ImageFolder(folder))
    with pytest.raises(InvalidRequestError, match="gives no files"):
        ComparedDataset(wrapped, plain)
    assert SampleTable(wrapped).fingerprints().kind is FingerprintKind.PIXELS


def test_sets_without_fingerprints_say_so_and_a_choice_is_silent() -> None:
    table = SampleTable(Pictures())
    with pytest.warns(UncomparedImagesWarning, match="UNCHECKED says that this is meant"):
        assert compared(table, None) is table
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compared(table, UNCHECKED) is table


def test_a_process_says_so_once() -> None:
    table = SampleTable(Pictures())
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            compared(table, None)
    assert len(shown) == 1


def test_fingerprints_of_other_samples_leave_nothing_to_compare() -> None:
    none = SampleFingerprints(
        FingerprintKind.PIXELS, np.array([1], np.uint64), np.array([2], np.uint64)
    )
    assert len(read_all(ComparedDataset(Pictures(len(CLASSES)), none))) == len(CLASSES)
