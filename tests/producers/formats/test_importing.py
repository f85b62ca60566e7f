"""From files to dense labels or a label set: in bounded memory, resumable, all or nothing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from labelcast.codec.topk import Recovery
from labelcast.errors import InvalidRequestError, LabelFileError, LabelValueError, StoreFullError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.progress import Progress, unwatched
from labelcast.views import Views
from labelcast_producers.dense.labels import DESCRIPTION_NAME, DenseLabels
from labelcast_producers.encoding import label_set_writer
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.output import dense as dense_output
from labelcast_producers.formats.output.dense import PROGRESS_NAME
from labelcast_producers.formats.recognition import open_source, recognise
from labelcast_producers.formats.shared.foreign_rows import ForeignRows
from labelcast_producers.formats.source import ImportOptions, Part, PermutationDraws
from tests.e2e.running_service import clean_environment
from tests.factories.command import run_labelcast
from tests.producers.formats.stored_files import load
from tests.producers.formats.truth_checks import rows_of_truth
from tests.producers.formats.writers.distillkit import Settings, write_distillkit
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.producer_pixels import folder_sizes, write_image_folder
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.truth import Truth
from tests.producers.formats.writers.views import Order, epoch_orders

SAMPLES, EPOCHS, BATCH, CLASSES, VIEW = 40, 5, 9, 7, 32
OPTIONS = ImportOptions(num_samples=SAMPLES, view_size=VIEW)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    directory = tmp_path_factory.mktemp("files")
    truth = write_sre2l(
        directory,
        samples=SAMPLES,
        epochs=EPOCHS,
        batch_size=BATCH,
        classes=CLASSES,
        view=VIEW,
    )
    return directory, truth


def imported(files: Path, out: Path, codec: str | None = None) -> DenseLabels | LabelSetDirectory:
    return written(Import.open(files, OPTIONS), out, codec)


def written(
    labels: Import, out: Path, codec: str | None, progress: Progress = unwatched
) -> DenseLabels | LabelSetDirectory:
    if codec is None:
        return labels.write_dense(out, progress=progress)
    return labels.write_label_set(out, codec=codec, progress=progress)


@pytest.mark.parametrize("window_rows", [1, 7, SAMPLES - 1, SAMPLES, 1000])
def test_rows_are_the_same_whatever_is_held_and_however_they_are_read(
    files: tuple[Path, Truth], window_rows: int
) -> None:
    directory, truth = files
    source = open_source(directory, OPTIONS)
    rows = ForeignRows(source, window_bytes=window_rows * CLASSES * 2)
    expected = truth.labels[rows_of_truth(source, truth)]
    for start, stop in ((0, len(truth)), (3, 2 * SAMPLES + 5), (SAMPLES, SAMPLES), (199, 200)):
        np.testing.assert_array_equal(rows.read(start, stop), expected[start:stop])
    chosen = np.random.default_rng(0).permutation(len(truth))[:30]
    np.testing.assert_array_equal(rows.gather(chosen), expected[chosen])
    blocks = [block.copy() for block in rows.blocks(SAMPLES + 3)]
    np.testing.assert_array_equal(np.concatenate(blocks), expected[SAMPLES + 3 :])
    with pytest.raises(LabelFileError):
        rows.read(0, len(truth) + 1)


def test_parts_that_do_not_add_up_are_refused(files: tuple[Path, Truth]) -> None:
    source = open_source(files[0], OPTIONS)
    whole = source.parts
    for parts in (whole[:-1], [*whole, whole[0]], [whole[0], *whole[2:]], []):
        source.parts = parts
        with pytest.raises(LabelFileError):
            ForeignRows(source).read(0, len(files[1]))


def test_a_part_that_reads_otherwise_is_refused(
    files: tuple[Path, Truth], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(files[0], OPTIONS)
    read = source.read
    changed = source.parts[2]

    def other(part: Part) -> np.ndarray:
        labels = read(part)
        return labels[:, :-1] if part is changed else labels

    monkeypatch.setattr(source, "read", other)
    with pytest.raises(LabelFileError, match=changed.path.name):
        ForeignRows(source).read(0, 1)


def test_values_that_are_no_numbers_are_refused(
    files: tuple[Path, Truth], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(files[0], OPTIONS)
    read = source.read

    def spoiled(part: Part) -> np.ndarray:
        labels = read(part).copy()
        labels[0, 0] = np.nan
        return labels

    monkeypatch.setattr(source, "read", spoiled)
    with pytest.raises((LabelValueError, LabelFileError)):
        ForeignRows(source).read(0, 1)


@pytest.mark.parametrize("codec", [None, "raw:fp16"])
def test_an_interrupted_import_goes_on_and_publishes_nothing_before(
    files: tuple[Path, Truth],
    codec: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory, _ = files
    monkeypatch.setattr(dense_output, "_SYNC_BYTES", 1)
    monkeypatch.setattr(label_set_writer, "_NOTE_ROWS", 10)
    monkeypatch.setattr(label_set_writer, "_BLOCK_BYTES", 4 * CLASSES * 10)
    whole = imported(directory, tmp_path / "whole", codec)
    labels = Import.open(directory, OPTIONS)
    # It reads labels once, before any is written.
    labels.source.require_order()
    read = labels.source.read
    reads: list[Part] = []

    def failing(part: Part) -> np.ndarray:
        reads.append(part)
        if len(reads) > 12:
            raise OSError("the disk has gone")
        return read(part)

    monkeypatch.setattr(labels.source, "read", failing)
    out = tmp_path / "broken"
    with pytest.raises(OSError, match="gone"):
        written(labels, out, codec)
    assert not (out / DESCRIPTION_NAME).exists()
    assert not (out / "manifest.json").exists()
    again = Import.open(directory, OPTIONS)
    again.source.require_order()
    count: list[Part] = []
    read_again = again.source.read

    def counting(part: Part) -> np.ndarray:
        count.append(part)
        return read_again(part)

    monkeypatch.setattr(again.source, "read", counting)
    told: list[tuple[int, int]] = []
    resumed = written(again, out, codec, lambda *step: told.append(step))
    assert told == sorted(told)
    assert told[-1] == (SAMPLES * EPOCHS, SAMPLES * EPOCHS)
    if codec is None:
        # Encoding reads the first rows anew, to know what they are.
        assert len(count) < len(again.source.parts)
        assert told[0][0] > 0
    if isinstance(resumed, LabelSetDirectory):
        assert isinstance(whole, LabelSetDirectory)
        assert resumed.digest == whole.digest
        assert not (out / "encoding").exists()
    else:
        names = ("labels.npy", "tables.safetensors", "records.safetensors", DESCRIPTION_NAME)
        for name in names:
            assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
        assert not (out / PROGRESS_NAME).exists()


def test_progress_of_other_files_or_options_is_not_taken_up(
    files: tuple[Path, Truth], tmp_path: Path
) -> None:
    directory, truth = files
    out = tmp_path / "out"
    out.mkdir()
    (out / PROGRESS_NAME).write_text(json.dumps({"identity": "sha256:other", "rows": 80}))
    (out / "labels.npy").write_bytes(bytes(10_000))
    result = imported(directory, out)
    assert isinstance(result, DenseLabels)
    source = open_source(directory, OPTIONS)
    np.testing.assert_array_equal(
        result.rows.read(0, len(truth)), truth.labels[rows_of_truth(source, truth)]
    )


def test_labels_that_the_disk_cannot_hold_are_refused_first(
    files: tuple[Path, Truth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StoreFullError, match="--codec"):
        imported(files[0], tmp_path / "out")
    assert not (tmp_path / "out" / "labels.npy").exists()


def test_foreign_files_and_unknown_structures_are_refused(
    files: tuple[Path, Truth], tmp_path: Path
) -> None:
    unknown = "no labels of a known structure"
    for path, message in ((tmp_path / "nowhere", "does not exist"), (tmp_path, unknown)):
        with pytest.raises(LabelFileError, match=message):
            recognise(path)
    with pytest.raises(InvalidRequestError, match="is no format"):
        recognise(files[0], "sre3l")
    with pytest.raises(LabelFileError):
        recognise(files[0], "fkd")


def test_top_k_labels_are_never_made_dense(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = write_distillkit(
        tmp_path / "files", Settings(d=300, k=8, exact_k=8), lengths=[5, 3], recovery="spread"
    )
    options = ImportOptions(recovery=Recovery.SPREAD)
    labels = Import.open(tmp_path / "files", options)
    read = labels.source.read

    def once(part: Part) -> np.ndarray:
        assert part.rows[0] == 0, "only the first part may be read whole, for its type"
        return read(part)

    monkeypatch.setattr(labels.source, "read", once)
    with pytest.raises(InvalidRequestError, match="not made dense"):
        labels.write_dense(tmp_path / "dense")
    result = labels.write_label_set(tmp_path / "out")
    assert result.codec().name == "topk"
    views = Views(truth.sample_ids, truth.seeds)
    decoded = result.decoder().decode(result.gather(views), views)
    np.testing.assert_allclose(decoded, truth.labels, rtol=2**-10, atol=1e-6)


@pytest.mark.parametrize("order", ["current", "old"])
def test_what_was_imported_is_exported_file_for_file(order: Order, tmp_path: Path) -> None:
    files, back = tmp_path / "files", tmp_path / "back"
    write_sre2l(
        files,
        samples=SAMPLES,
        epochs=3,
        batch_size=BATCH,
        classes=CLASSES,
        view=VIEW,
        order=order,
        sizes=[(64, 48)] * SAMPLES,
    )
    draws = "one" if order == "old" else "two"
    made = tmp_path / "set"
    described = f"--samples {SAMPLES} --view-size {VIEW} --draws {draws} --codec raw:fp16"
    for command in (
        f"import {files} --out {made} {described}",
        f"export {made} --out {back} --batch-size {BATCH} --draws {draws}",
    ):
        done = run_labelcast(*command.split(), "--quiet")
        assert done.returncode == 0, done.stderr
    stored = sorted(path.relative_to(files) for path in files.rglob("*.tar"))
    assert stored == sorted(path.relative_to(back) for path in back.rglob("*.tar"))
    for path in stored:
        ours = load(back / path)
        theirs = load(files / path)
        assert [type(value) for value in ours] == [type(value) for value in theirs]
        for mine, original in zip(ours, theirs, strict=True):
            if isinstance(mine, torch.Tensor):
                assert mine.dtype == original.dtype
                assert torch.equal(mine, original)
            else:
                assert mine == original


def test_commands_say_what_files_are_and_bring_them(tmp_path: Path) -> None:
    write_fkd(tmp_path / "files", samples=6, epochs=2, classes=4, label_type="full")
    inspected = run_labelcast("inspect", str(tmp_path / "files"))
    assert inspected.returncode == 0, inspected.stderr
    assert "fkd" in inspected.stdout
    done = run_labelcast(
        *("import", str(tmp_path / "files"), "--out", str(tmp_path / "dense")),
        *("--view-size", "32", "--quiet", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labels"] == 12
    assert DenseLabels.open(tmp_path / "dense").index.num_rows == 12
    wrong = run_labelcast(
        *("import", str(tmp_path / "files"), "--out", str(tmp_path / "other")),
        *("--draws", "three"),
    )
    assert wrong.returncode == 2
    assert "'three' is not one of 'auto', 'one', 'two'" in wrong.stderr


@pytest.mark.slow
def test_a_killed_import_leaves_nothing_that_can_be_pushed(tmp_path: Path) -> None:
    write_sre2l(tmp_path / "files", samples=400, epochs=12, batch_size=50, classes=500, view=VIEW)
    command = [sys.executable, "-m", "labelcast.cli", "import", str(tmp_path / "files")]
    options = ["--samples", "400", "--view-size", "32", "--quiet", "--codec", "raw:fp16", "--json"]
    out = tmp_path / "out"
    with subprocess.Popen(
        [*command, "--out", str(out), *options],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        deadline = time.monotonic() + 60
        while not (out / "encoding" / "rows.bin").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert not (out / "manifest.json").exists()
    done = run_labelcast(*command[3:], "--out", str(out), *options)
    assert done.returncode == 0, done.stderr
    whole = run_labelcast(*command[3:], "--out", str(tmp_path / "whole"), *options)
    assert json.loads(done.stdout)["digest"] == json.loads(whole.stdout)["digest"]


def test_a_finished_result_is_not_written_over(files: tuple[Path, Truth], tmp_path: Path) -> None:
    directory, _ = files
    imported(directory, tmp_path / "dense")
    imported(directory, tmp_path / "set", "raw:fp16")
    for out in (tmp_path / "dense", tmp_path / "set"):
        for codec in (None, "raw:fp16"):
            with pytest.raises(InvalidRequestError, match="holds a finished result"):
                imported(directory, out, codec)
    for out in (directory, directory / "below"):
        with pytest.raises(InvalidRequestError, match="among the files"):
            imported(directory, out)
    for name, what in (("set", "is a label set"), ("dense", "holds dense labels")):
        with pytest.raises(LabelFileError, match=f"{what} already"):
            recognise(tmp_path / name)


def test_an_import_of_other_samples_is_not_taken_up(
    files: tuple[Path, Truth], tmp_path: Path
) -> None:
    directory, _ = files
    one, two, again = (
        Import.open(directory, replace(OPTIONS, draws=draws))
        for draws in (PermutationDraws.ONE, PermutationDraws.TWO, PermutationDraws.TWO)
    )
    assert two.identity() == again.identity()
    # Of the same options: what the images behind them say has changed meanwhile.
    again.source = one.source
    assert two.identity() != again.identity()


def test_a_wrong_order_of_samples_is_refused(tmp_path: Path) -> None:
    paths, _ = write_image_folder(tmp_path / "images", samples=SAMPLES, classes=4)
    write_sre2l(
        tmp_path / "files",
        samples=SAMPLES,
        epochs=3,
        batch_size=BATCH,
        classes=4,
        view=VIEW,
        mix="none",
        order="old",
        sizes=folder_sizes(paths),
    )
    command = f"import {tmp_path}/files --images {tmp_path}/images --view-size {VIEW} --quiet"
    for draws, refused in (("two", True), ("one", False), ("auto", False)):
        if draws == "auto":
            orders = dict(enumerate(epoch_orders(SAMPLES, 3, "old")))
            (tmp_path / "files" / "sampler_indices_epoch.json").write_text(json.dumps(orders))
        done = run_labelcast(*f"{command} --draws {draws} --out {tmp_path}/{draws}".split())
        assert done.returncode == int(refused), done.stderr
        assert ("give --draws one" in done.stderr) is refused
        assert "warning:" not in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--temperature nan", "--temperature is nan"),
        ("--temperature -1", "--temperature is -1.0"),
        ("--verify-args {}", "give that too"),
        ("--sampler-seed -5", "sampler-seed"),
        ("--draws three", "'auto', 'one', 'two'"),
    ],
)
def test_impossible_options_are_refused_in_one_line(
    files: tuple[Path, Truth], options: str, says: str, tmp_path: Path
) -> None:
    done = run_labelcast("import", str(files[0]), "--out", str(tmp_path / "out"), *options.split())
    assert done.returncode in (1, 2)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
