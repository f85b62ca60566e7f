"""Several processes at one data set, as torchrun starts them, and runs that are cut short."""

import signal
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from labelcast.torch import SampleTable
from labelcast.torch.images.image_folder import ImageFolder
from labelcast_producers.dense.labels import DESCRIPTION_NAME, LABELS_NAME, TABLES_NAME, DenseLabels
from labelcast_producers.relabel.recipes import RECIPE_NAME, RECIPES, Recipe
from tests.factories.relabelling import (
    BATCH_ROWS,
    EPOCHS,
    SAMPLES,
    batches_noted,
    label,
    main,
    stored,
    write_images,
)
from tests.factories.torchrun import torchrun, torchrun_program

FILES = {DESCRIPTION_NAME, LABELS_NAME, RECIPE_NAME, TABLES_NAME}
BATCHES = EPOCHS * -(-SAMPLES // BATCH_ROWS)
WORK = "tests.factories.relabelling"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled by one process, never interrupted."""
    out = tmp_path_factory.mktemp("whole")
    label(out)
    return out


@pytest.mark.slow
def test_killed_workers_go_on_bit_for_bit(tmp_path: Path, whole: Path) -> None:
    # Their teachers fall silent, so that no worker can be done before it is killed.
    with torchrun(main, tmp_path, "held") as process:
        process.wait_until(lambda: batches_noted(tmp_path))
        for worker in psutil.Process(process.pid).children():
            worker.kill()
        assert process.wait(60) != 0
    before = batches_noted(tmp_path)
    assert 0 < len(before) < BATCHES
    with torchrun(main, tmp_path, "held") as process:
        process.wait_until(lambda: batches_noted(tmp_path) - before)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) != 0
    assert before < batches_noted(tmp_path) < set(range(BATCHES))
    assert not (tmp_path / DESCRIPTION_NAME).exists()
    # One process finishes what two began.
    dense = label(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes(), name
    assert dense.rows.num_rows == SAMPLES * EPOCHS


@pytest.mark.slow
def test_the_command_labels_images_with_two_workers_as_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_images(tmp_path / "images")
    words = ["relabel", "--teacher", f"{WORK}:SmallTeacher", "--teacher-args", '{"channels": 3}']
    words += ["--images", str(images), "--image-size", "8", "--view-size", "6", "--device", "cpu"]
    words += ["--recipe", "rded", "--epochs", "5", "--batch-rows", "4", "--flip", "0", "--quiet"]
    with torchrun_program("labelcast.cli", *words, "--out", tmp_path / "two") as process:
        stdout, stderr = process.communicate(timeout=100)
        assert process.returncode == 0, stderr
    assert stdout == f"50 labels of 5 classes in {tmp_path / 'two'}\n"
    one = exit_code_of(app, name="x", arguments=[*words, "--out", str(tmp_path / "one")])
    assert one == 0
    assert capsys.readouterr().out.startswith("50 labels")
    for name in FILES:
        two, alone = ((tmp_path / each / name).read_bytes() for each in ("two", "one"))
        assert two == alone, name
    dense = DenseLabels.open(tmp_path / "one")
    recipe = Recipe.from_bytes((tmp_path / "one" / RECIPE_NAME).read_bytes())
    assert recipe == replace(RECIPES["rded"], epochs=5, flip=0.0)
    assert dense.description.policy == recipe.policy(6, 6)
    assert dense.description.dataset == SampleTable(ImageFolder(images, size=8)).digest()


@pytest.mark.slow
def test_an_error_of_one_ends_all_and_keeps_what_is_done(tmp_path: Path, whole: Path) -> None:
    with torchrun(main, tmp_path, "sick") as process:
        stdout, _ = process.output(100)
    assert process.returncode != 0
    assert stdout.count("the teacher gives NaN") == 1
    assert stdout.count("\n") <= 2
    assert not (tmp_path / DESCRIPTION_NAME).exists()
    assert batches_noted(tmp_path)
    label(tmp_path)
    assert stored(tmp_path) == stored(whole)


@pytest.mark.slow
def test_workers_with_teachers_of_their_own_are_refused(tmp_path: Path) -> None:
    with torchrun(main, tmp_path, "own") as process:
        stdout, _ = process.output(100)
    assert process.returncode != 0
    assert "hold different teachers" in stdout
    assert not list(tmp_path.iterdir())
