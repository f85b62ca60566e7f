"""The short form of the chaos suite: faults everywhere, and no row is wrong, lost or repeated."""

import json
from pathlib import Path

import pytest

from benchmarks.chaos.__main__ import main
from benchmarks.chaos.table import chaos_table, faults_table
from benchmarks.chaos.variation import VARIATIONS


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(600)
@pytest.mark.parametrize("variation", VARIATIONS)
def test_no_row_is_wrong_lost_or_repeated(tmp_path: Path, variation: str) -> None:
    out = tmp_path / "chaos.json"
    status = main(["--short", "--variation", variation, "--out", str(out)])
    whole = json.loads(out.read_text())
    result = whole["variations"][variation]
    for name in ("wrong", "lost", "duplicated", "hung", "untyped"):
        assert result[name] == 0, (name, result["examples"])
    assert result["restored"]
    assert status == 0
    assert result["faults_total"] >= 10
    assert len(result["faults"]) >= 4
    assert ("renew" in result["faults"]) is VARIATIONS[variation].encrypted
    assert result["rows"] >= 50_000
    assert result["streams_complete"] >= 10
    assert f"{result['rows']:,}" in chaos_table(whole)
    assert len(faults_table(whole).splitlines()) >= 4
