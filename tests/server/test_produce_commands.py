"""What relabel, fit and encode say of a command line that cannot be."""

from pathlib import Path

import pytest

from labelcast.cli.run import exit_code_of
from labelcast_server.cli import app
from tests.fitting.small import write_labels

FIT = ["--codes", 1, "--codebook-size", 4, "--device", "cpu", "--quiet"]
RELABEL = ["relabel", "--dataset", "tests.torch.pictures:Pictures", "--device", "cpu", "--quiet"]


def run(*words: object) -> int:
    return exit_code_of(app, name="labelcast-server", arguments=[str(word) for word in words])


@pytest.mark.parametrize("command", [["fit"], ["encode", "--codec", "raw:fp16"]])
def test_a_label_kind_that_is_none_is_an_error_of_usage(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_labels(tmp_path)
    words = [*command, "--labels", labels, "--out", tmp_path / "out", "--label-kind", "foo"]
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(text in error for text in ("--label-kind", "logits", "probabilities"))


def test_a_teacher_that_is_no_network_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--teacher", "collections:OrderedDict", "--seeds", 2, "--out", tmp_path]
    assert run(*RELABEL, *words) == 1
    assert capsys.readouterr().err == (
        "error: the teacher collections:OrderedDict is of type OrderedDict, not torch.nn.Module\n"
    )


@pytest.mark.parametrize("seeds", [0, 2**32, 99999999999])
def test_seeds_are_as_many_as_views_can_name(
    tmp_path: Path, seeds: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--teacher", "torch.nn:Identity", "--seeds", seeds, "--out", tmp_path]
    assert run(*RELABEL, *words) == 2
    assert "--seeds" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_interrupted_fit_of_other_settings_gives_way_to_a_fresh_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, out = write_labels(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "checkpoint.safetensors").write_bytes(b"of another fit")
    fit = ["fit", "--labels", labels, "--out", out, "--steps", 2, *FIT]
    assert run(*fit) == 1
    assert "--fresh" in capsys.readouterr().err
    assert run(*fit, "--fresh") == 0
    assert not (out / "checkpoint.safetensors").exists()
