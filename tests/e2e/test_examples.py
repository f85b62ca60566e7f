"""The examples run as `make examples` runs them: real labels, a service, processes of their own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.running_service import clean_environment

ROOT = Path(__file__).parents[2]
RUN = ["plain_torch.py", "edge_numpy.py"]
LONGEST = 60


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_every_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples"],
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


@pytest.mark.parametrize("name", RUN)
def test_an_example_is_short(name: str) -> None:
    assert len((ROOT / "examples" / name).read_text().splitlines()) < LONGEST
