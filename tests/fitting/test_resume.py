"""A fit that was stopped ends with the same bits as one that was not."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from labelcast.errors import InvalidRequestError
from labelcast_server.fitting.fit import CHECKPOINT_FILE, LOG_FILE
from labelcast_server.neural.fitted_files import CODEC_FILE, ENCODER_FILE
from tests.fitting.small import fit_file, write_labels, write_mixed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_labels(tmp_path)


@pytest.fixture(params=["plain", "with context"])
def either(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    if request.param == "plain":
        return write_labels(tmp_path)
    return write_mixed(tmp_path / "dense")


def assert_same_fit(one: Path, other: Path) -> None:
    for name in (CODEC_FILE, ENCODER_FILE, LOG_FILE):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert not (one / CHECKPOINT_FILE).exists()


def interrupt_once_saved(checkpoint: Path) -> threading.Thread:
    """Send this process SIGINT as soon as the fit has written a checkpoint."""

    def watch() -> None:
        deadline = time.monotonic() + 60
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_killed_fit_goes_on_bit_for_bit(tmp_path: Path, either: Path) -> None:
    labels, steps = either, 1000
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "tests.fitting.small", str(labels), str(killed), str(steps)]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 60
    while not (killed / CHECKPOINT_FILE).exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (killed / CODEC_FILE).exists()
    # What a crash may leave beyond the checkpoint.
    with (killed / LOG_FILE).open("a") as log:
        log.write('{"step": 999, "kl": 0}\n{"ste')
    fit_file(labels, killed, steps=steps)
    fit_file(labels, tmp_path / "whole", steps=steps)
    assert_same_fit(killed, tmp_path / "whole")


def test_sigint_saves_and_the_fit_goes_on(tmp_path: Path, labels: Path) -> None:
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    before = signal.getsignal(signal.SIGINT)
    thread = interrupt_once_saved(stopped / CHECKPOINT_FILE)
    with pytest.raises(KeyboardInterrupt):
        fit_file(labels, stopped, steps=600, checkpoint_seconds=0.05)
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    assert not (stopped / CODEC_FILE).exists()
    fit_file(labels, stopped, steps=600)
    fit_file(labels, tmp_path / "whole", steps=600)
    assert_same_fit(stopped, tmp_path / "whole")


def test_the_same_fit_twice_gives_the_same_bits_and_leaves_the_generator(
    tmp_path: Path, either: Path
) -> None:
    state = torch.random.get_rng_state()
    fit_file(either, tmp_path / "one", steps=60)
    fit_file(either, tmp_path / "two", steps=60)
    assert_same_fit(tmp_path / "one", tmp_path / "two")
    assert torch.equal(torch.random.get_rng_state(), state)


def stop_early(labels: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    thread = interrupt_once_saved(out / CHECKPOINT_FILE)
    with pytest.raises(KeyboardInterrupt):
        fit_file(labels, out, steps=1000, checkpoint_seconds=0.05)
    thread.join()


def test_another_fit_is_not_resumed(tmp_path: Path, labels: Path) -> None:
    out = tmp_path / "out"
    stop_early(labels, out)
    with pytest.raises(InvalidRequestError, match=r"--fresh .*resume=False"):
        fit_file(labels, out, steps=999)
    fit_file(labels, out, steps=10, resume=False)
    assert not (out / CHECKPOINT_FILE).exists()


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: b"", lambda c: b"{}" + c])
def test_a_damaged_checkpoint_is_refused(
    tmp_path: Path, labels: Path, damage: object, stopped_checkpoint: bytes
) -> None:
    assert callable(damage)
    (tmp_path / CHECKPOINT_FILE).write_bytes(damage(stopped_checkpoint))
    with pytest.raises(InvalidRequestError, match=r"--fresh .*resume=False"):
        fit_file(labels, tmp_path, steps=1000)


@pytest.fixture(scope="module")
def stopped_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    directory = tmp_path_factory.mktemp("stopped")
    stop_early(write_labels(directory), directory)
    return (directory / CHECKPOINT_FILE).read_bytes()
