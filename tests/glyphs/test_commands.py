"""How the student and the demo end when they cannot go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from labelcast_glyphs import demo, student

# A demo whose one step is a child that says its process ID and then waits.
WAITING_DEMO = """
import signal
import sys
from labelcast_glyphs import demo

# Whoever started the tests in the background has had SIGINT ignored for all below.
signal.signal(signal.SIGINT, signal.default_int_handler)

demo.run_demo = lambda out, scale, encrypted=False: demo._python("waiting_child")
sys.exit(demo.main(["--out", "unused"]))
"""
WAITING_CHILD = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n"


def test_a_student_without_its_images_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--run", "hard", "--address", "127.0.0.1:1", "--tag", "glyphs:demo"]
    words += ["--distilled", str(tmp_path / "nope"), "--out", str(tmp_path / "run.json")]
    assert student.main(words) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(tmp_path / "nope") in error
    assert error.count("\n") == 1


def test_a_demo_that_cannot_write_says_so_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert demo.main(["--quick", "--out", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert "error: " in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_stops_the_demo_and_its_child(tmp_path: Path, whole_group: bool) -> None:
    (tmp_path / "waiting_child.py").write_text(WAITING_CHILD)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING_DEMO],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=100)
    assert (process.returncode, error) == (130, "interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_quick_demo_leaves_the_fit_of_a_full_one_alone() -> None:
    assert (demo.FULL.codec_name, demo.QUICK.codec_name) == ("codec", "codec-quick")
