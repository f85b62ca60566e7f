"""A directory from `fit` is encoded with whole, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
from safetensors.torch import load_file, save_file

from labelcast.codec import LabelKind
from labelcast.errors import CodecFormatError, DigestMismatchError, InvalidRequestError
from labelcast_producers.dense.labels import open_labels
from labelcast_producers.fitting.report import read_report
from labelcast_producers.neural.chosen_encoder import ChosenEncoder, choose_encoder
from labelcast_producers.neural.encoder_file import METADATA_KEY
from labelcast_producers.neural.encoding import VqaeEncoder
from labelcast_producers.neural.fitted_files import CODEC_FILE, ENCODER_FILE, REPORT_FILE
from tests.factories.fitted import fit_file, write_labels


@pytest.fixture
def choose(tmp_path: Path) -> Callable[[Path], ChosenEncoder]:
    """What a command line means by a directory."""
    description = open_labels(write_labels(tmp_path), LabelKind.LOGITS).description

    def chosen(directory: Path) -> ChosenEncoder:
        return choose_encoder(str(directory), description, temperature=1.0, device="cpu")

    return chosen


def fitted(directory: Path, *, seed: int = 0) -> Path:
    fit_file(write_labels(directory), directory / "fit", steps=2, seed=seed)
    return directory / "fit"


def test_a_fit_is_taken_with_its_report(
    tmp_path: Path, choose: Callable[[Path], ChosenEncoder]
) -> None:
    directory = fitted(tmp_path)
    chosen = choose(directory)
    assert chosen.artifact == (directory / CODEC_FILE).read_bytes()
    report = read_report(directory / REPORT_FILE)
    assert chosen.fit_report == report.model_dump(mode="json")


def test_an_encoder_that_says_nothing_of_a_linear_model_decodes_each_trial(
    tmp_path: Path, choose: Callable[[Path], ChosenEncoder]
) -> None:
    directory = fitted(tmp_path)
    encoder = choose(directory).encoder
    assert isinstance(encoder, VqaeEncoder)
    assert encoder.search.linearised
    path = directory / ENCODER_FILE
    with safetensors.safe_open(path, framework="pt") as file:
        spec = json.loads(file.metadata()[METADATA_KEY])
    del spec["search"]["linearised"]
    save_file(load_file(path), path, {METADATA_KEY: json.dumps(spec)})
    before = choose(directory).encoder
    assert isinstance(before, VqaeEncoder)
    assert not before.search.linearised


@pytest.mark.parametrize("name", [REPORT_FILE, ENCODER_FILE, CODEC_FILE])
def test_a_file_of_another_fit_is_refused(
    tmp_path: Path, name: str, choose: Callable[[Path], ChosenEncoder]
) -> None:
    (tmp_path / "other").mkdir()
    one, other = fitted(tmp_path), fitted(tmp_path / "other", seed=1)
    (one / name).write_bytes((other / name).read_bytes())
    with pytest.raises(DigestMismatchError):
        choose(one)


@pytest.mark.parametrize("name", [REPORT_FILE, ENCODER_FILE])
def test_a_missing_file_is_named(
    tmp_path: Path, name: str, choose: Callable[[Path], ChosenEncoder]
) -> None:
    directory = fitted(tmp_path)
    (directory / name).unlink()
    with pytest.raises(CodecFormatError, match=f"holds no finished fit: there is no {name}"):
        choose(directory)


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_report_is_said(
    tmp_path: Path, content: bytes, choose: Callable[[Path], ChosenEncoder]
) -> None:
    directory = fitted(tmp_path)
    (directory / REPORT_FILE).write_bytes(content)
    with pytest.raises(CodecFormatError, match=f"{REPORT_FILE} is no fit report"):
        choose(directory)


def test_a_directory_of_something_else_is_no_codec(
    tmp_path: Path, choose: Callable[[Path], ChosenEncoder]
) -> None:
    with pytest.raises(InvalidRequestError, match="is no directory from `labelcast fit`"):
        choose(tmp_path)
