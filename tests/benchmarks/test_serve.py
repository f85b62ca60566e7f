"""The benchmark of the data plane runs, and says of every measure what came of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.measures_table import measures_table
from benchmarks.serve.__main__ import PARTS, merged
from benchmarks.serve.table import curve_table

CURVES = {"message", "processes", "workers", "rows"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_quick_run_measures_everything(tmp_path: Path) -> None:
    out = tmp_path / "serve.json"
    command = [sys.executable, "-m", "benchmarks.serve", "--quick", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=800)
    result = json.loads(out.read_text())
    measures = result["measures"]
    assert len({row["name"] for row in measures}) == len(measures) == 15
    for row in measures:
        compared = row["ours"] if row["peer"] is None else row["ratio"]
        assert row["reached"] is (
            compared <= row["reach"] if row["lower_is_better"] else compared >= row["reach"]
        )
    assert tuple(result["runs"]) == PARTS
    assert result["curves"].keys() == CURVES
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    for name, points in result["curves"].items():
        assert len(points) >= 2
        assert all(value > 0 for point in points for value in point.values())
        assert len(curve_table(result, name).splitlines()) == 2 + len(points)
    assert len(measures_table(result).splitlines()) == 2 + len(measures)


def test_a_part_takes_the_place_of_its_own_figures_alone() -> None:
    def found(part: str, *names: str) -> dict[str, object]:
        rows = [{"name": name, "part": part} for name in names]
        return {"measures": rows, "curves": {"rows": [{"rows": 1}]} if part == "curves" else {}}

    result = merged({}, "crowd", {"seconds": 1}, found("crowd", "memory"))
    result = merged(result, "curves", {"seconds": 2}, found("curves"))
    result = merged(result, "paths", {"seconds": 3}, found("paths", "codes", "dense"))
    result = merged(result, "paths", {"seconds": 4}, found("paths", "codes"))
    assert [row["name"] for row in result["measures"]] == ["codes", "memory"]
    assert [about["seconds"] for about in result["runs"].values()] == [4, 1, 2]
    assert result["curves"] == {"rows": [{"rows": 1}]}


def test_a_curve_that_nobody_measured_says_so() -> None:
    assert curve_table({"curves": {}}, "rows") == "Not measured yet."
