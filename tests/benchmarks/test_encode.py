"""The benchmark of encoding: both searches write whole label sets, and its table shows both."""

from pathlib import Path

import pytest

from benchmarks.encode.__main__ import CORES, RESULT, encoder_of, main, of_codec
from benchmarks.encode.label_sets import first_seeds
from benchmarks.measures_table import measures_table
from labelcast_producers.dense.labels import DenseLabels
from tests.factories.fitted import SAMPLES, fit_file, write_mixed


def test_both_searches_are_measured_on_one_codec(tmp_path: Path) -> None:
    codec = fit_file(write_mixed(tmp_path / "dense"), tmp_path / "codec", steps=2)
    before = encoder_of(codec, linearised=False)
    assert (codec.encoder.search.linearised, before.search.linearised) == (True, False)
    dense = DenseLabels.open(tmp_path / "dense")
    rows = list(of_codec("small", dense, codec, quick=True))
    assert {row["unit"] for row in rows[1:]} == {"labels/s"}
    assert len(rows) in (1 + len(CORES), 2 + len(CORES))
    assert all(row["ours"] > 0 and row["peer"] > 0 for row in rows if "unrun" not in row)
    table = measures_table({"measures": rows})
    assert table.count("\n") == 1 + len(rows)
    assert "| small: KL |" in table


def test_labels_of_whole_seeds_are_those_of_the_set(tmp_path: Path) -> None:
    dense = DenseLabels.open(write_mixed(tmp_path))
    few = first_seeds(dense, SAMPLES + 1)
    assert few.rows.num_rows == len(few.index.views()) == 2 * SAMPLES
    assert (few.rows.read(3, 60) == dense.rows.read(3, 60)).all()


def test_without_codecs_of_photographs_nothing_is_measured_or_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = RESULT.read_bytes()
    monkeypatch.setenv("BENCH_DIR", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["encode"])
    with pytest.raises(SystemExit):
        main()
    assert "POINT=vqae-8,vqae-4,vqae-2,vqae-plain-8" in capsys.readouterr().err
    assert RESULT.read_bytes() == before
