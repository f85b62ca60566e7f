"""Plain labels in Parquet: views in any order it may have; and every way to be wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from labelcast.errors import LabelFileError
from labelcast.label_set import RowOrder
from labelcast_producers.formats.arrays import ArrayImporter, ArraySource
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.truth_checks import one_line, open_own

LOGITS = np.random.default_rng(0).normal(0, 3, (6, 4)).astype(np.float32)


def opened(path: Path) -> ArraySource:
    return open_own(ArrayImporter(), path, ImportOptions())


def write_parquet(file: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), file)


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list, lambda of: pa.list_(of, 4)])
def test_lists_of_every_kind(tmp_path: Path, kind: Any) -> None:
    column = pa.array(LOGITS.tolist(), kind(pa.float32()))
    write_parquet(tmp_path / "a.parquet", logits=column, id=[5, 4, 3, 2, 1, 0], path=["a"] * 6)
    source = opened(tmp_path / "a.parquet")
    np.testing.assert_array_equal(source.read(source.parts[0]), LOGITS)
    assert any("columns left out: path" in note for note in source.facts.notes)


def test_parquet_by_sample_with_gaps(tmp_path: Path) -> None:
    column = pa.array(LOGITS.tolist(), pa.list_(pa.float32()))
    write_parquet(
        tmp_path / "a.parquet",
        labels=column,
        sample_id=[1, 1, 1, 4, 4, 9],
        seed=[7, 3, 5, 3, 5, 7],
    )
    source = opened(tmp_path / "a.parquet")
    index = source.facts.index
    assert index.row_order is RowOrder.SAMPLE_MAJOR
    assert index.present is not None
    views = index.views()
    assert views.sample_ids.tolist() == [1, 1, 1, 4, 4, 9]
    assert views.seeds.tolist() == [3, 5, 7, 3, 5, 7]
    assert source.parts[0].rows.tolist() == [2, 0, 1, 3, 4, 5]
    assert any("views are not" in note for note in source.facts.notes)


@pytest.mark.parametrize(
    ("ids", "seeds", "says"),
    [
        ([1, 2, 1, 2, 1, 2], [0, 1, 1, 0, 2, 2], "neither by seed nor by sample ID"),
        ([1, 2, 3, 4, 5, 5], [0] * 6, "row 4: sample ID 5 under seed 0 is there twice"),
        ([1, 2, -3, 4, 5, 6], [0] * 6, "row 2: sample ID -3 is out of range"),
        ([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 2**32], "row 5: seed 4294967296 is out of range"),
        ([1, 2, None, 4, 5, 6], [0] * 6, "row 2: sample_id is null"),
    ],
)
def test_views_that_are_none(
    tmp_path: Path, ids: list[int | None], seeds: list[int], says: str
) -> None:
    column = pa.array(LOGITS.tolist(), pa.list_(pa.float32()))
    write_parquet(tmp_path / "a.parquet", labels=column, sample_id=ids, seed=seeds)
    with pytest.raises(LabelFileError) as raised:
        opened(tmp_path / "a.parquet")
    one_line(raised.value, "a.parquet", says)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([[1.0, 2.0], None, [3.0, 4.0]], "row 1: labels is null"),
        ([[1.0, 2.0], [3.0, 4.0], [3.0, None]], "row 2: a value of labels is null"),
        ([[1.0, 2.0], [3.0, 4.0], [3.0]], "row 2: labels has 1 classes, the first row has 2"),
        ([[], [3.0, 4.0]], "classes"),
        ([], "has no rows"),
    ],
)
def test_parquet_rows_that_are_none(tmp_path: Path, rows: list[Any], says: str) -> None:
    write_parquet(tmp_path / "a.parquet", labels=pa.array(rows, pa.list_(pa.float32())))
    with pytest.raises(LabelFileError) as raised:
        opened(tmp_path / "a.parquet")
    one_line(raised.value, "a.parquet", says)


def test_a_null_beyond_the_first_rows(tmp_path: Path) -> None:
    rows: list[Any] = [[1.0, 2.0]] * 3000
    rows[2500] = None
    write_parquet(tmp_path / "a.parquet", labels=pa.array(rows, pa.list_(pa.float32())))
    source = opened(tmp_path / "a.parquet")
    with pytest.raises(LabelFileError, match="row 2500: labels is null"):
        source.read(source.parts[0])
