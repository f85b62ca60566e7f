"""The benchmark of training loops runs, and says of every measure what came of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measures_table import measures_table


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_quick_run_measures_everything(tmp_path: Path) -> None:
    out = tmp_path / "trainers.json"
    command = [sys.executable, "-m", "benchmarks.trainers", "--quick", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=800)
    measures = json.loads(out.read_text())["measures"]
    assert len({row["name"] for row in measures}) == len(measures) == 11
    assert all(row["ours"] is not None for row in measures)
    for row in measures:
        if row["reach"] is None:
            assert row["reached"] is None
        else:
            compared = row["ours"] if row["peer"] is None else row["ratio"]
            assert row["reached"] is (compared <= row["reach"])
    assert len(measures_table({"measures": measures}).splitlines()) == 2 + len(measures)
