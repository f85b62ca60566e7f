"""The benchmark of encoding: both searches write whole label sets, and its table shows both."""

from pathlib import Path

from benchmarks.encode.__main__ import CORES, POINTS, decoding_each_trial, of_codec, of_photographs
from benchmarks.encode.label_sets import first_seeds
from benchmarks.imagenet.place import Place
from benchmarks.imagenet.settings import FULL
from benchmarks.measures_table import measures_table
from labelcast_producers.dense.labels import DenseLabels
from tests.factories.fitted import SAMPLES, fit_file, write_mixed


def test_both_searches_are_measured_on_one_codec(tmp_path: Path) -> None:
    codec = fit_file(write_mixed(tmp_path / "dense"), tmp_path / "codec", steps=2)
    before = decoding_each_trial(codec)
    assert (codec.encoder.search.linearised, before.search.linearised) == (True, False)
    dense = DenseLabels.open(tmp_path / "dense")
    rows = list(of_codec("small", dense, codec, quick=True))
    assert [row["unit"] for row in rows] == ["nats", *["labels/s" for _ in CORES]]
    assert all(row["ours"] > 0 and row["peer"] > 0 for row in rows if "unrun" not in row)
    table = measures_table({"measures": rows})
    assert table.count("\n") == 1 + len(rows)
    assert "| small: KL |" in table


def test_labels_of_whole_seeds_are_those_of_the_set(tmp_path: Path) -> None:
    dense = DenseLabels.open(write_mixed(tmp_path))
    few = first_seeds(dense, SAMPLES + 1)
    assert few.rows.num_rows == len(few.index.views()) == 2 * SAMPLES
    assert (few.rows.read(3, 60) == dense.rows.read(3, 60)).all()


def test_codecs_of_photographs_that_are_not_there_are_not_made(tmp_path: Path) -> None:
    rows = list(of_photographs(Place(FULL, tmp_path)))
    assert [row["name"] for row in rows] == list(POINTS.values())
    assert all("make bench-imagenet" in row["unrun"] for row in rows)
