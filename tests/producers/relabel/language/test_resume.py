"""Runs that are killed go on to the same bytes, and several processes write what one does."""

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from labelcast.errors import InvalidRequestError
from tests.anywhere import ROOT
from tests.factories.language_models import Recurrent, label
from tests.factories.torchrun import torchrun

WORK = "tests.factories.language_models"


def written(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def wait_for_a_batch(process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + 90
    while True:
        with suppress(FileNotFoundError):
            if json.loads((out / "encoding" / "progress-0.json").read_bytes())["batches"]:
                return
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def killed(out: Path, codec: str = "hidden:int8") -> None:
    """A run that is killed after some batches; the first forward passes prove the model."""
    words = [sys.executable, "-m", WORK, str(out), json.dumps({"held_after": 8, "codec": codec})]
    with subprocess.Popen(words, cwd=ROOT) as process:
        try:
            wait_for_a_batch(process, out)
        finally:
            process.kill()
    assert not (out / "manifest.json").exists()


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    killed(tmp_path / "killed")
    module = Recurrent()
    label(tmp_path / "killed", module)
    whole = Recurrent()
    label(tmp_path / "whole", whole)
    assert written(tmp_path / "killed") == written(tmp_path / "whole")
    # What was done is labelled again in part alone: one batch, to compare the model.
    assert module.shown < whole.shown + 1


def test_another_run_does_not_go_on(tmp_path: Path) -> None:
    killed(tmp_path)
    with pytest.raises(InvalidRequestError, match="start over with --fresh"):
        label(tmp_path, batch_tokens=50)
    with pytest.raises(InvalidRequestError, match="start over with --fresh"):
        label(tmp_path, Recurrent(seed=1))
    label(tmp_path, Recurrent(seed=1), fresh=True)


def test_a_model_that_now_says_something_else_is_noticed(tmp_path: Path) -> None:
    # What it calibrates would tell of int8.
    killed(tmp_path, "hidden:fp16")

    class Changed(Recurrent):
        """The same weights, another forward pass."""

        def forward(self, ids):  # type: ignore[no-untyped-def]
            return super().forward((ids + 1) % 300)

    with pytest.raises(InvalidRequestError, match="gave other labels to the same tokens"):
        label(tmp_path, Changed(), codec="hidden:fp16")


@pytest.mark.slow
def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    with torchrun(WORK, tmp_path / "two", "{}") as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    label(tmp_path / "one")
    assert written(tmp_path / "two") == written(tmp_path / "one")
