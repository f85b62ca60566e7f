"""Examples run as `make examples` runs them all: real labels, a service, own processes."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.__main__ import PROGRAMS
from tests.e2e.running_service import clean_environment

ROOT = Path(__file__).parents[2]
# The others take several processes, which tests of ranks start, or frameworks that are not here.
RUN = ["plain_torch.py", "edge_numpy.py"]
FLOWER = ROOT / ".venv-flower" / "bin" / "flwr"
LONGEST = 60


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_examples_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples", *RUN],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^== (.*)$", done.stdout, re.MULTILINE) == RUN
    (known,) = re.findall(r"(\d+)% of the whole images are known", done.stdout)
    # Chance is 5 %.
    assert int(known) > 30
    assert "1,440 labels of 20 classes, 4 bytes each" in done.stdout


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.skipif(not FLOWER.exists(), reason="make example-flower makes .venv-flower")
def test_flower_federates_a_student() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.flower"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sites = re.findall(r"a site moved (\{.*\})", done.stdout)
    assert len(sites) == 2 * 2  # in each of two rounds
    for site in map(ast.literal_eval, sites):
        # 20 classes as fp16; 8 bytes of codes, with what asks for them.
        assert site["dense-bytes"] == 40 * site["labels"]
        assert 8 * site["labels"] <= site["label-bytes"] < 11 * site["labels"]
    (known,) = re.findall(r"(\d+)% of the whole images are known", done.stdout)
    assert int(known) > 30


@pytest.mark.parametrize("name", [*PROGRAMS, "flower/client_app.py", "flower/server_app.py"])
def test_an_example_is_short(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text().splitlines()) < LONGEST


def test_frameworks_stay_out_of_the_main_environment() -> None:
    named = (ROOT / "examples" / "requirements-frameworks.txt").read_text()
    frameworks = re.findall(r"^([\w-]+)==", named, re.MULTILINE)
    assert {"kornia", "lightning", "transformers"} <= set(frameworks)
    # What reads a teacher reads a student's model, too: the extra `language`.
    frameworks = [name for name in frameworks if name not in {"accelerate", "transformers"}]
    ours = (ROOT / "constraints.txt").read_text() + (ROOT / "pyproject.toml").read_text()
    assert [name for name in frameworks if re.search(rf'^"?{name}[=>]', ours, re.MULTILINE)] == []
