"""Interrupted imports resume, never with the labels of another one, and leave nothing behind."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelcast.errors import BusyError, InvalidRequestError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.progress import Progress, unwatched
from labelcast_producers.encoding import label_set_writer
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.output import dense
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.writers.distilled_sets import write_pdd
from tests.producers.formats.writers.gvbsm import write_gvbsm

FILES: dict[str, Any] = {"samples": 8, "epochs": 4, "batch_size": 4, "classes": 4, "view": 32}


class Interrupt:
    """A progress callback that interrupts once more than a number of labels is done."""

    def __init__(self, after: int) -> None:
        self.after = after

    def __call__(self, done: int, total: int, /) -> None:
        if done > self.after:
            raise KeyboardInterrupt


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def expect_whole(made: LabelSetDirectory, as_: LabelSetDirectory) -> None:
    """The set is the uninterrupted one, and its directory holds it alone."""
    assert made.digest == as_.digest
    assert names_in(made.directory) == ["blobs", "manifest.json"]
    blobs = {digest.replace(":", "-") for digest in made.manifest.blobs()}
    assert names_in(made.directory / "blobs") == sorted(blobs)


@pytest.fixture
def stages(tmp_path: Path) -> Path:
    write_pdd(tmp_path / "files", classes=3, stages=4)
    return tmp_path / "files"


def test_a_staged_import_resumes(tmp_path: Path, stages: Path) -> None:
    whole = Import.open(stages).write_label_set(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Import.open(stages).write_label_set(tmp_path / "out", progress=Interrupt(12))
    # The set so far and the stage at work: what came before takes no room.
    assert names_in(tmp_path / "out" / "stages") == ["1", "2-alone", "stages.json"]
    seen: list[tuple[int, int]] = []
    made = Import.open(stages).write_label_set(
        tmp_path / "out", progress=lambda done, total: seen.append((done, total))
    )
    # The first two stages were taken as they were.
    assert seen[0] == (12, 24)
    assert seen[-1] == (24, 24)
    expect_whole(made, whole)


def test_a_staged_import_that_is_killed_resumes(tmp_path: Path) -> None:
    files, out = tmp_path / "files", tmp_path / "out"
    write_pdd(files, classes=3, stages=6)
    whole = Import.open(files).write_label_set(tmp_path / "whole")
    command = [sys.executable, "-m", "labelcast.cli", "import", str(files), "--out", str(out)]
    running = subprocess.Popen([*command, "--quiet"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (out / "stages" / "stages.json").exists():
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.wait(10)
    done = subprocess.run([*command, "--quiet"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    expect_whole(LabelSetDirectory(out), whole)


def test_lost_stages_are_written_again(tmp_path: Path, stages: Path) -> None:
    whole = Import.open(stages).write_label_set(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Import.open(stages).write_label_set(tmp_path / "out", progress=Interrupt(12))
    shutil.rmtree(tmp_path / "out" / "stages" / "1")
    expect_whole(Import.open(stages).write_label_set(tmp_path / "out"), whole)


def test_a_finished_import_is_not_written_over(tmp_path: Path, stages: Path) -> None:
    made = Import.open(stages).write_label_set(tmp_path / "out")
    with pytest.raises(InvalidRequestError, match="holds a finished result"):
        Import.open(stages).write_label_set(tmp_path / "out")
    expect_whole(made, made)


def test_another_import_does_not_go_on_with_stages(tmp_path: Path, stages: Path) -> None:
    write_pdd(tmp_path / "others", classes=3, stages=4, seed=1)
    whole = Import.open(stages).write_label_set(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        Import.open(tmp_path / "others").write_label_set(tmp_path / "out", progress=Interrupt(12))
    seen: list[int] = []
    made = Import.open(stages).write_label_set(
        tmp_path / "out", progress=lambda done, _: seen.append(done)
    )
    assert seen[0] == 0
    assert made.digest == whole.digest


def two_imports(directory: Path) -> tuple[Path, Path]:
    for number in (0, 1):
        write_gvbsm(directory / f"files{number}", **FILES, seed=number)
    return directory / "files0", directory / "files1"


def opened(files: Path) -> Import:
    return Import.open(files, ImportOptions(view_size=32))


@pytest.mark.parametrize("form", ["dense", "label set"])
def test_what_another_import_left_is_never_taken_for_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    # Progress is noted at every block, or else not before gigabytes.
    monkeypatch.setattr(dense, "_SYNC_BYTES", 1)
    monkeypatch.setattr(label_set_writer, "_NOTE_ROWS", 1)
    monkeypatch.setattr(label_set_writer, "_BLOCK_BYTES", 1)
    ours, theirs = two_imports(tmp_path)
    out = tmp_path / "out"

    def write(files: Path, after: int) -> None:
        if form == "dense":
            opened(files).write_dense(out, progress=Interrupt(after))
        else:
            opened(files).write_label_set(out, codec="raw:fp32", progress=Interrupt(after))

    with pytest.raises(KeyboardInterrupt):
        write(ours, 20)
    monkeypatch.setattr(dense, "_SYNC_BYTES", 2**30)
    monkeypatch.setattr(label_set_writer, "_NOTE_ROWS", 2**30)
    # As many rows as ours had, and no note about them.
    with pytest.raises(KeyboardInterrupt):
        write(theirs, 28)
    if form == "dense":
        found = opened(ours).write_dense(out).rows.read(0, 32)
        expected = opened(ours).write_dense(tmp_path / "whole").rows.read(0, 32)
        np.testing.assert_array_equal(found, expected)
    else:
        made = opened(ours).write_label_set(out, codec="raw:fp32")
        whole = opened(ours).write_label_set(tmp_path / "whole", codec="raw:fp32")
        assert made.digest == whole.digest


@pytest.mark.parametrize("form", ["dense", "label set"])
def test_two_imports_into_one_directory(tmp_path: Path, form: str) -> None:
    ours, theirs = two_imports(tmp_path)
    refused: list[str] = []

    def write(files: Path, progress: Progress) -> None:
        if form == "dense":
            opened(files).write_dense(tmp_path / "out", progress=progress)
        else:
            opened(files).write_label_set(tmp_path / "out", codec="raw:fp32", progress=progress)

    def beside(done: int, total: int, /) -> None:
        with pytest.raises(BusyError) as error:
            write(theirs, unwatched)
        refused.append(str(error.value))

    write(ours, beside)
    assert refused
    assert "wait until it is done, or give another --out" in refused[0]
