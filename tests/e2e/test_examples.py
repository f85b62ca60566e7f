"""Examples run as `make examples` runs them all: real labels, a service, own processes."""

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


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_example_is_short(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text().splitlines()) < LONGEST


def test_frameworks_stay_out_of_the_main_environment() -> None:
    named = (ROOT / "examples" / "requirements-frameworks.txt").read_text()
    frameworks = re.findall(r"^([\w-]+)==", named, re.MULTILINE)
    assert {"kornia", "lightning", "transformers"} <= set(frameworks)
    ours = (ROOT / "constraints.txt").read_text() + (ROOT / "pyproject.toml").read_text()
    assert [name for name in frameworks if re.search(rf'^"?{name}[=>]', ours, re.MULTILINE)] == []
