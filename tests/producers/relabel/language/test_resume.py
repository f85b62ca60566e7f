"""Runs that are killed go on to the same bytes, and several processes write what one does."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from labelcast.errors import InvalidRequestError
from tests.factories.language_models import Recurrent, label, main
from tests.factories.torchrun import torchrun
from tests.factories.warm_process import warm_process


def written(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def has_a_batch(out: Path) -> bool:
    with suppress(FileNotFoundError):
        return bool(json.loads((out / "encoding" / "progress-0.json").read_bytes())["batches"])
    return False


def killed(out: Path, codec: str = "hidden:int8") -> None:
    """A run that is killed after some batches; the first forward passes prove the model."""
    with warm_process(main, out, {"held_after": 8, "codec": codec}) as process:
        process.wait_until(lambda: has_a_batch(out))
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
    with torchrun(main, tmp_path / "two", {}) as process:
        _, errors = process.output(240)
        assert process.wait(0) == 0, errors
    label(tmp_path / "one")
    assert written(tmp_path / "two") == written(tmp_path / "one")
