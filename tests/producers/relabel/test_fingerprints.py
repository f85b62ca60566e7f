"""What relabel writes of the images that it showed the teacher."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from torch import Tensor

from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from labelcast.errors import DifferentImageError, LabelFileError
from labelcast.label_set.fingerprints import FileReading, FingerprintKind
from labelcast.torch import ImageFolder, SampleTable
from labelcast_producers.dense.labels import TABLES_NAME, DenseLabels
from labelcast_producers.relabel.relabeller import relabel
from tests.factories import folders
from tests.factories.pictures import Pictures
from tests.factories.relabelling import SmallTeacher


def labelled(out: Path, dataset: Any, teacher: Any = None) -> DenseLabels:
    return relabel(
        folders.NearestMean() if teacher is None else teacher,
        SampleTable(dataset),
        None,
        seeds=1,
        out=out,
        teacher_name="teacher",
        device="cpu",
    )


def test_files_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    folder = ImageFolder(folders.write_digits(tmp_path / "digits", per_class=2))
    dense = labelled(tmp_path / "dense", folder)
    known, found = SampleTable(folder).fingerprints(), DenseLabels.open(tmp_path / "dense")
    for prints in (dense.fingerprints, found.fingerprints):
        assert prints is not None
        assert prints.reading == FileReading("RGB", "position")
        np.testing.assert_array_equal(prints.values, known.values)
    assert found.description.dataset == known.digest()


def test_samples_without_files_are_told_apart_by_their_pixels(tmp_path: Path) -> None:
    prints = labelled(tmp_path / "dense", Pictures(), SmallTeacher()).fingerprints
    assert prints is not None
    assert (prints.kind, prints.reading) == (FingerprintKind.PIXELS, None)


def test_fingerprints_of_another_data_set_are_refused(tmp_path: Path) -> None:
    labelled(tmp_path, Pictures(), SmallTeacher())
    tables = safetensors.numpy.load_file(tmp_path / TABLES_NAME)
    tables["pixel_fingerprints"] = tables["pixel_fingerprints"][::-1].copy()
    safetensors.numpy.save_file(tables, tmp_path / TABLES_NAME)
    with pytest.raises(LabelFileError, match="not those of the data set"):
        DenseLabels.open(tmp_path)


def test_an_image_that_changes_while_it_is_labelled_stops_the_run(tmp_path: Path) -> None:
    class Changing(ImageFolder):
        reads = 0

        def read_bytes(self, index: int, /) -> bytes:
            self.reads += 1
            content = super().read_bytes(index)
            return content if self.reads <= len(self) else content + b" "

        def decode(self, content: bytes, index: int, /) -> tuple[Tensor, int]:
            return super().decode(content, index)

    folder = Changing(folders.write_digits(tmp_path / "digits", per_class=1))
    with pytest.raises(DifferentImageError):
        labelled(tmp_path / "dense", folder)


def test_the_command_takes_ids_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = folders.write_digits(tmp_path / "digits", per_class=1)
    command = ["relabel", "--teacher", "tests.factories.folders:NearestMean", "--seeds", "1"]
    images = ["--images", str(root), "--ids", "name", "--quiet", "--out", str(tmp_path / "dense")]
    assert exit_code_of(app, name="labelcast", arguments=[*command, *images]) == 0
    dense = DenseLabels.open(tmp_path / "dense")
    expected = ImageFolder(root, ids="name").sample_ids
    np.testing.assert_array_equal(dense.index.sample_ids, np.sort(expected))
    assert dense.description.file_reading == FileReading("RGB", "name")
    wrong = [*command, "--dataset", "tests.factories.pictures:Pictures", "--ids", "name"]
    capsys.readouterr()
    assert exit_code_of(app, name="labelcast", arguments=[*wrong, "--out", str(tmp_path)]) == 1
    assert "--ids belong to --images" in capsys.readouterr().err
