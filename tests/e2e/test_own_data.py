"""The commands of the README on a user's own teacher and data, each a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from labelcast.cli.app import app
from labelcast.cli.run import exit_code_of
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_producers.dense.labels import DenseLabels
from tests.e2e.running_service import RunningService, clean_environment, running_service

USER_PACKAGE = '''
import numpy as np
import torch
from torch import nn


class Digits(torch.utils.data.Dataset):
    """Real scanned digits, 8x8."""

    class_names = [str(digit) for digit in range(10)]

    def __init__(self, count: int) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        self.images = torch.tensor(digits.images[:count] / 16, dtype=torch.float32)[:, None]
        self.hard_labels = digits.target[:count].astype("int64")
        self.sample_ids = np.arange(count, dtype=np.uint64) * 10 + 3

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], int(self.hard_labels[index])


def teacher(broken: bool = False) -> nn.Module:
    """Nearest class mean: a real, if modest, classifier, without a training loop."""
    digits = Digits(1797)
    flat = digits.images.flatten(1)
    means = torch.stack([flat[digits.hard_labels == digit].mean(0) for digit in range(10)])
    layer = nn.Linear(64, 10)
    with torch.no_grad():
        layer.weight.copy_(4 * means)
        layer.bias.copy_(-2 * means.square().sum(1))
        if broken:
            layer.bias[3] = float("nan")
    return nn.Sequential(nn.Flatten(), layer)
'''
POLICY = {
    "policy": "seeded/1",
    "view_height": 8,
    "view_width": 8,
    "rotation_degrees": 10.0,
    "crop_scale": [0.7, 1.0],
    "crop_ratio": 1.2,
    "flip_probability": 0.0,
    "mix": "cutmix",
    "mix_probability": 0.5,
    "key": 7,
}


class Workplace:
    """A directory with a user's package, where commands are run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "mypkg.py").write_text(USER_PACKAGE)
        (directory / "policy.json").write_text(json.dumps(POLICY))
        path = os.pathsep.join([str(directory), os.environ.get("PYTHONPATH", "")])
        self._environment = clean_environment({"PYTHONPATH": path})

    def run(self, module: str, *arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=self.directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


RELABEL = (
    *("relabel", "--teacher", "mypkg:teacher", "--dataset", "mypkg:Digits"),
    *("--dataset-args", '{"count": 300}', "--policy", "policy.json", "--quiet"),
)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """With dense labels, a fitted codec and an encoded label set."""
    place = Workplace(tmp_path_factory.mktemp("own"))
    place.run("labelcast.cli", *RELABEL, "--seeds", 6, "--out", "dense")
    place.run(
        "labelcast.cli",
        *("fit", "--labels", "dense", "--out", "codec", "--codes", 4, "--codebook-size", 16),
        *("--steps", 200, "--quiet"),
    )
    place.run(
        "labelcast.cli",
        *("encode", "--labels", "dense", "--codec", "codec", "--out", "set", "--quiet"),
    )
    return place


@pytest.fixture(scope="module")
def service(workplace: Workplace) -> Iterator[RunningService]:
    with running_service(workplace.directory) as running:
        yield running


@pytest.fixture
def here(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run a command that must fail, in this process; returns its one line of error."""
    monkeypatch.chdir(workplace.directory)
    monkeypatch.syspath_prepend(str(workplace.directory))

    def refused(*arguments: object) -> str:
        status = exit_code_of(app, name="labelcast", arguments=[*map(str, arguments)])
        captured = capsys.readouterr()
        assert status == 1
        assert captured.out == ""
        (line,) = captured.err.strip().splitlines()
        return line

    return refused


def test_a_label_set_goes_from_a_teacher_to_another_machine(
    workplace: Workplace, service: RunningService
) -> None:
    admin = ("--admin", service.admin, "--token-file", service.data_dir / "admin.token")
    pushed = json.loads(
        workplace.run("labelcast.cli", "push", "set", "--tag", "mine:v1", *admin, "--json")
    )
    info = workplace.run("labelcast.cli", "info", "mine:v1", *admin)
    assert pushed["digest"] in info
    pulled = workplace.run(
        "labelcast.cli", "pull", "mine:v1", "--address", service.grpc, "--out", "local"
    )
    assert pushed["digest"] in pulled
    workplace.run("labelcast.cli", "decode", "local", "--out", "labels.npy", "--temperature", 1.0)
    decoded = np.load(workplace.directory / "labels.npy").astype(np.float32)
    views = np.load(workplace.directory / "labels.views.npy")
    dense = DenseLabels.open(workplace.directory / "dense")
    logits = dense.rows.read(0, dense.rows.num_rows).astype(np.float32)
    teacher = np.exp(logits - logits.max(1, keepdims=True))
    teacher /= teacher.sum(1, keepdims=True)
    assert views["sample_id"].tolist() == dense.index.views().sample_ids.tolist()
    np.testing.assert_allclose(decoded.sum(1), 1, atol=5e-3)
    # Two bytes a label keep most of it: far closer to the teacher than its mean label is.
    error = np.abs(decoded - teacher).sum(1).mean()
    assert error < np.abs(teacher.mean(0) - teacher).sum(1).mean() / 2


def test_pulling_again_fetches_nothing_that_is_there(
    workplace: Workplace, service: RunningService
) -> None:
    service.push(LabelSetDirectory(workplace.directory / "set"), "mine:again")
    pull = ("pull", "mine:again", "--address", service.grpc, "--out", "twice", "--json")
    first = json.loads(workplace.run("labelcast.cli", *pull))
    again = json.loads(workplace.run("labelcast.cli", *pull))
    assert again["received_bytes"] < first["received_bytes"] / 2
    blob = next(path for path in (workplace.directory / "twice" / "blobs").iterdir())
    blob.write_bytes(bytes(len(blob.read_bytes())))
    workplace.run("labelcast.cli", *pull)
    assert LabelSetDirectory(workplace.directory / "twice").manifest.digest == first["digest"]


def test_a_label_file_without_a_teacher(workplace: Workplace, service: RunningService) -> None:
    logits = np.random.default_rng(0).normal(size=(500, 7)).astype(np.float16)
    np.save(workplace.directory / "logits.npy", logits)
    workplace.run(
        "labelcast.cli",
        *("encode", "--labels", "logits.npy", "--codec", "raw:fp16", "--out", "raw", "--quiet"),
    )
    service.push(LabelSetDirectory(workplace.directory / "raw"), "raw:v1")
    workplace.run(
        "labelcast.cli", "pull", "raw:v1", "--address", service.grpc, "--out", "raw-local"
    )
    workplace.run("labelcast.cli", "decode", "raw-local", "--out", "back.npy")
    np.testing.assert_array_equal(np.load(workplace.directory / "back.npy"), logits)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--seeds", 1, "--out", "x", "--teacher", "mypkg:nobody"), "has no 'nobody'"),
        (("--seeds", 1, "--out", "x", "--teacher", "nowhere:teacher"), "cannot import 'nowhere'"),
        (("--seeds", 1, "--out", "x", "--teacher-args", '{"size": 3}'), "cannot call"),
        (("--seeds", 1, "--out", "x", "--teacher-args", '{"broken": true}'), "NaN"),
        (("--seeds", 1, "--out", "x", "--policy", "none.json"), "none.json"),
    ],
)
def test_relabel_refuses_in_one_line(
    workplace: Workplace,
    here: Callable[..., str],
    arguments: tuple[object, ...],
    words: str,
) -> None:
    assert words in here(*RELABEL, *arguments)
    assert not (workplace.directory / "x" / "labels.json").exists()


@pytest.mark.parametrize(
    ("labels", "options", "words"),
    [
        (np.full((9, 4), np.nan, np.float32), (), "NaN"),
        (np.full((9, 4), 0.25, np.float32), (), "probabilities, not logits"),
        (np.full((9, 4), 1e5, np.float32), (), "overflows fp16"),
        (np.zeros((0, 4), np.float32), (), "npy"),
        (np.zeros((9, 4), np.float32), ("--codec", "topk:5"), "k"),
        (np.zeros((9, 4), np.float32), ("--codec", "nothing"), "no directory"),
    ],
)
def test_encode_refuses_in_one_line(
    workplace: Workplace,
    here: Callable[..., str],
    labels: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    options: tuple[str, ...],
    words: str,
) -> None:
    np.save(workplace.directory / "bad.npy", labels)
    error = here(
        *("encode", "--labels", "bad.npy", "--out", "bad-set", "--quiet"),
        *(options or ("--codec", "raw:fp16")),
    )
    assert words in error
    assert not (workplace.directory / "bad-set" / "manifest.json").exists()
