"""The benchmark of the data plane runs, and says of every measure what came of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_quick_run_measures_everything_that_exists(tmp_path: Path) -> None:
    out = tmp_path / "serve.json"
    command = [sys.executable, "-m", "benchmarks.serve", "--quick", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    measures = json.loads(out.read_text())["measures"]
    assert len({row["name"] for row in measures}) == len(measures) >= 10
    for row in measures:
        if "unrun" in row:
            assert row["ratio"] is None
        else:
            compared = row["ours"] if row["peer"] is None else row["ratio"]
            assert row["reached"] is (
                compared <= row["reach"] if row["lower_is_better"] else compared >= row["reach"]
            )
    assert {row["name"] for row in measures if row["ratio"] == row["peer"] == row["ours"]} == {
        row["name"] for row in measures if "unrun" in row
    }
