"""What relabel, fit and encode say of a command line that cannot be, and what `fit` makes."""

import json
import sys
from pathlib import Path

import pytest

from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from labelcast_producers.neural.fitted_files import REPORT_FILE
from tests.factories.fitted import write_labels, write_mixed

FIT = ["--codes", 1, "--codebook-size", 4, "--device", "cpu", "--quiet"]
SMALL = {"steps": 4, "encoder_hidden": [16], "decoder_hidden": [16], "batch_rows": 32}
RELABEL = [
    "relabel",
    "--dataset",
    "tests.factories.pictures:Pictures",
    "--device",
    "cpu",
    "--quiet",
]


def run(*words: object) -> int:
    return exit_code_of(app, name="labelcast", arguments=[str(word) for word in words])


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
        "error: the teacher collections:OrderedDict is of type OrderedDict, not torch.nn.Module;"
        " name a module, or a function that returns one\n"
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


def fit_words(directory: Path, *words: object) -> list[object]:
    """A `fit` of a small network into `directory`/out."""
    labels, config = write_labels(directory), directory / "config.json"
    config.write_text(json.dumps(SMALL))
    fit = ["fit", "--labels", labels, "--out", directory / "out", "--config", config]
    return [*fit, "--device", "cpu", "--quiet", *words]


def test_a_target_chooses_the_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*fit_words(tmp_path, "--target-bytes", 3, "--json")) == 0
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert report["bytes_a_label"]["payload"] == 3
    assert (report["config"]["codes"], report["config"]["codebook_size"]) == (6, 16)
    assert printed.err == "3 bytes a label: 6 codes of 16 codewords of 4 values\n"
    # What a target chose can be asked for by name.
    words = ["--codes", 6, "--codebook-size", 16]
    (tmp_path / "config.json").write_text(json.dumps(SMALL | {"codeword_width": 4}))
    named = ["fit", "--labels", tmp_path / "labels.npy", "--out", tmp_path / "out", *words]
    config = ["--config", tmp_path / "config.json", "--device", "cpu", "--quiet", "--json"]
    assert run(*named, *config) == 0
    assert json.loads(capsys.readouterr().out) == report


def test_a_fit_says_what_decided_on_context_and_when_labels_are_too_few(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(SMALL | {"try_context": True}))
    dense, out = write_mixed(tmp_path / "dense"), tmp_path / "out"
    fit = ["fit", "--labels", dense, "--out", out, "--config", config, *FIT]
    assert run(*fit) == 0
    *_, decided = capsys.readouterr().out.splitlines()
    report = json.loads((out / REPORT_FILE).read_text())
    chosen = "with" if report["config"]["class_width"] else "without"
    kl = {tried["class_width"]: tried["kl_nats"] for tried in report["context_choice"]["tried"]}
    assert decided == (
        f"fitted {chosen} context, the better of both: KL {kl[64]:.3f} nats with it,"
        f" {kl[0]:.3f} without, on rows that neither had seen"
    )
    for unseen, wanted in ((0.5, "4,000"), (0.28, "500")):
        report["seen"]["kl_nats"], report["unseen"]["kl_nats"] = 0.25, unseen
        (out / REPORT_FILE).write_text(json.dumps(report))
        assert run(*fit) == 0
        *_, advice = capsys.readouterr().out.splitlines()
        assert advice == (
            "fitted rows are kept better, with KL 0.250 nats: a codec of this size wants about"
            f" {wanted} fitted labels instead of 400; relabel with more --seeds"
        )


def test_one_byte_is_no_plural(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*fit_words(tmp_path, "--target-bytes", 1)) == 0
    printed = capsys.readouterr()
    assert printed.err == "1 byte a label: 2 codes of 16 codewords of 4 values\n"
    assert printed.out.startswith("1 byte a label (")
    words = ["--labels", tmp_path / "labels.npy", "--codec", tmp_path / "out", "--quiet"]
    assert run("encode", *words, "--out", tmp_path / "set", "--device", "cpu") == 0
    assert "480 labels of 1 byte in" in capsys.readouterr().out


def test_a_finished_fit_of_other_settings_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*fit_words(tmp_path, "--codes", 1)) == 0
    capsys.readouterr()
    for words in (["--codes", 2], ["--codes", 1, "--steps", 5]):
        assert run(*fit_words(tmp_path, *words)) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert "--fresh" in printed.err
        assert "--out" in printed.err
    assert run(*fit_words(tmp_path, "--codes", 2, "--fresh")) == 0


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--target-bytes", "0.1"), 1, "no label has 0.1 bytes"),
        (("--target-bytes", "2.5"), 1, "whole numbers from 1 to 256"),
        (("--target-bytes", "0"), 1, "at least one byte"),
        (("--target-bytes", "-1"), 1, "at least one byte"),
        (("--target-bytes", "nan"), 1, "no label has nan bytes"),
        (("--target-bytes", "300"), 1, "at most 256"),
        (("--target-bytes", "many"), 2, "--target-bytes"),
        (("--target-bytes", "8", "--codes", "8"), 1, "leave out codes"),
        (("--target-bytes", "8", "--codebook-size", "16"), 1, "leave out codebook_size"),
        (("--sweep", "2,4", "--codes", "8"), 1, "leave out codes"),
        (("--sweep", "2,4", "--target-bytes", "8"), 1, "give one of them"),
        (("--sweep", ""), 1, "no list of targets"),
        (("--sweep", "2,,4"), 1, "no list of targets"),
        (("--sweep", "4,2"), 1, "ascend"),
        (("--sweep", "2,2"), 1, "twice"),
        (("--sweep", "2,x"), 1, "'x' is no number"),
        (("--sweep", "0.1,1"), 1, "no label has 0.1 bytes"),
    ],
)
def test_targets_that_cannot_be_are_one_line(
    tmp_path: Path,
    words: tuple[str, ...],
    status: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*fit_words(tmp_path, *words)) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert says in printed.err
    assert not (tmp_path / "out").exists()


def test_a_sweep_fits_writes_draws_and_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*fit_words(tmp_path, "--sweep", "1,2")) == 0
    out = tmp_path / "out"
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["bytes", "at", "1", "M"]
    assert [line.split()[0] for line in lines] == ["1", "2"]
    assert last == "measured on unseen rows; fp16: 24 bytes"
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert run(*fit_words(tmp_path, "--sweep", "1,2", "--json")) == 0
    printed = capsys.readouterr().out
    assert printed.encode().strip() == (out / "sweep.json").read_bytes()
    assert [point["payload"] for point in json.loads(printed)["points"]] == [1, 2]
    # A point is a codec like any other.
    codec, labels = out / "2", tmp_path / "labels.npy"
    words = ["--labels", labels, "--codec", codec, "--out", tmp_path / "set", "--quiet"]
    assert run("encode", *words, "--device", "cpu") == 0
    assert "480 labels of 2 bytes" in capsys.readouterr().out


def test_without_matplotlib_a_sweep_says_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(*fit_words(tmp_path, "--sweep", "1", "--json")) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)["points"]) == 1
    assert "sweep.png is left out" in printed.err
    assert "labelcast[producers]" in printed.err
    assert not (tmp_path / "out" / "sweep.png").exists()


@pytest.mark.parametrize("name", ["absent", "absent.npy"])
def test_labels_that_are_not_there_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run("fit", "--labels", tmp_path / name, "--out", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / name} is not there; give a directory that")
    assert error.count("\n") == 1
