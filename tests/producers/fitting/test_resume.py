"""A fit that was stopped ends with the same bits as one that was not."""

import signal
from pathlib import Path

import pytest
import torch

from labelcast.errors import InvalidRequestError
from labelcast_producers.fitting.fit import CHECKPOINT_FILE, LOG_FILE
from labelcast_producers.neural.fitted_files import CODEC_FILE, ENCODER_FILE
from tests.factories.fitted import (
    fit_file,
    fit_until_killed,
    signalled_once_saved,
    write_labels,
    write_mixed,
)
from tests.factories.warm_process import warm_process


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


def test_a_killed_fit_goes_on_bit_for_bit(tmp_path: Path, either: Path) -> None:
    labels, steps = either, 120
    killed = tmp_path / "killed"
    with warm_process(fit_until_killed, labels, killed, steps) as process:
        assert process.wait(100) == -signal.SIGKILL, process.output(0)
    assert (killed / CHECKPOINT_FILE).exists()
    assert not (killed / CODEC_FILE).exists()
    # What a crash may leave beyond the checkpoint.
    with (killed / LOG_FILE).open("a") as log:
        log.write('{"step": 119, "kl": 0}\n{"ste')
    fit_file(labels, killed, steps=steps)
    fit_file(labels, tmp_path / "whole", steps=steps)
    assert_same_fit(killed, tmp_path / "whole")


def test_sigint_saves_and_the_fit_goes_on(tmp_path: Path, labels: Path) -> None:
    stopped = tmp_path / "stopped"
    before = signal.getsignal(signal.SIGINT)
    stop_early(labels, stopped, steps=120)
    assert signal.getsignal(signal.SIGINT) is before
    assert not (stopped / CODEC_FILE).exists()
    fit_file(labels, stopped, steps=120)
    fit_file(labels, tmp_path / "whole", steps=120)
    assert_same_fit(stopped, tmp_path / "whole")


def test_the_same_fit_twice_gives_the_same_bits_and_leaves_the_generator(
    tmp_path: Path, either: Path
) -> None:
    state = torch.random.get_rng_state()
    fit_file(either, tmp_path / "one", steps=60)
    fit_file(either, tmp_path / "two", steps=60)
    assert_same_fit(tmp_path / "one", tmp_path / "two")
    assert torch.equal(torch.random.get_rng_state(), state)


def stop_early(labels: Path, out: Path, *, steps: int = 1000) -> None:
    interrupting = signalled_once_saved(out / CHECKPOINT_FILE, signal.SIGINT)
    with interrupting, pytest.raises(KeyboardInterrupt):
        fit_file(labels, out, steps=steps, checkpoint_seconds=0.05)


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
