"""The distilled set: selection, round trip, and refusal of broken files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from labelcast_glyphs import DistilledSet, GlyphDataset, Teacher, distil
from labelcast_glyphs.distilled import realism_scores

Columns = dict[str, Any]


@pytest.fixture(scope="module")
def distilled(tiny_teacher: Teacher) -> DistilledSet:
    """Two pictures for each of 20 classes."""
    return distil(GlyphDataset("train", 20), tiny_teacher.network, num_crops=2)


def test_it_keeps_the_wanted_number_per_class_under_original_ids(distilled: DistilledSet) -> None:
    train = GlyphDataset("train", 20)
    assert np.bincount(distilled.hard_labels).tolist() == [2] * 20
    rows = np.searchsorted(train.sample_ids, distilled.sample_ids)
    assert np.array_equal(train.sample_ids[rows], distilled.sample_ids)
    assert np.array_equal(train.images[rows], distilled.images)
    assert distilled.class_names == train.class_names


def test_it_keeps_the_highest_scores(distilled: DistilledSet, tiny_teacher: Teacher) -> None:
    train = GlyphDataset("train", 20)
    scores = realism_scores(
        train,
        tiny_teacher.network,
        num_crops=2,
        min_crop_scale=0.4,
        max_rotation_degrees=15.0,
        seed=0,
    ).numpy()
    kept = np.isin(train.sample_ids, distilled.sample_ids)
    for label in range(20):
        mine = train.hard_labels == label
        assert scores[mine & kept].min() >= scores[mine & ~kept].max()


@pytest.mark.parametrize("images_per_class", [0, 10])
def test_impossible_counts_are_refused(images_per_class: int, tiny_teacher: Teacher) -> None:
    with pytest.raises(ValueError, match="images_per_class"):
        distil(GlyphDataset("train", 20), tiny_teacher.network, images_per_class=images_per_class)


def test_save_and_load_return_the_same_set(distilled: DistilledSet, tmp_path: Path) -> None:
    distilled.save(tmp_path / "set.safetensors")
    loaded = DistilledSet.load(tmp_path / "set.safetensors")
    assert loaded.digest() == distilled.digest()
    assert loaded.images.dtype == np.uint8
    assert loaded.class_names == distilled.class_names
    assert [path.name for path in tmp_path.iterdir()] == ["set.safetensors"]


def _swap_ids(columns: Columns) -> None:
    columns["sample_ids"] = columns["sample_ids"][::-1].copy()


def _signed_ids(columns: Columns) -> None:
    columns["sample_ids"] = columns["sample_ids"].astype(np.int64)


def _short_labels(columns: Columns) -> None:
    columns["hard_labels"] = columns["hard_labels"][:-1]


def _label_out_of_range(columns: Columns) -> None:
    columns["hard_labels"] = columns["hard_labels"] + 1


def _float_images(columns: Columns) -> None:
    columns["images"] = columns["images"].astype(np.float32)


def _cropped_images(columns: Columns) -> None:
    columns["images"] = np.ascontiguousarray(columns["images"][:, :31])


def _empty(columns: Columns) -> None:
    for name in columns:
        columns[name] = columns[name][:0]


def _missing_column(columns: Columns) -> None:
    del columns["images"]


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        (_swap_ids, "strictly increasing"),
        (_signed_ids, "sample_ids must be uint64"),
        (_short_labels, "hard_labels has shape"),
        (_label_out_of_range, r"hard_labels must lie in \[0, 20\)"),
        (_float_images, "images must be uint8"),
        (_cropped_images, "images has shape"),
        (_empty, "at least one sample"),
        (_missing_column, "has columns"),
    ],
)
def test_contradicting_columns_are_refused(
    distilled: DistilledSet, tmp_path: Path, breakage: Callable[[Columns], None], message: str
) -> None:
    distilled.save(tmp_path / "set.safetensors")
    columns: Columns = {
        name: np.array(getattr(distilled, name)) for name in ("images", "hard_labels", "sample_ids")
    }
    breakage(columns)
    metadata = {
        "format": "labelcast-glyphs-distilled-1",
        "class_names": json.dumps(distilled.class_names),
    }
    save_file(columns, tmp_path / "broken.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=message):
        DistilledSet.load(tmp_path / "broken.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "labelcast-glyphs-distilled-2", "class_names": "[]"},
        {"format": "labelcast-glyphs-distilled-1"},
        {"format": "labelcast-glyphs-distilled-1", "class_names": "[1, 2"},
        {"format": "labelcast-glyphs-distilled-1", "class_names": "[1, 2]"},
    ],
)
def test_foreign_metadata_is_refused(
    distilled: DistilledSet, tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    columns = {
        name: np.array(getattr(distilled, name)) for name in ("images", "hard_labels", "sample_ids")
    }
    save_file(columns, tmp_path / "foreign.safetensors", metadata=metadata)
    with pytest.raises(ValueError, match=r"foreign\.safetensors"):
        DistilledSet.load(tmp_path / "foreign.safetensors")


def test_every_truncation_is_refused(distilled: DistilledSet, tmp_path: Path) -> None:
    distilled.save(tmp_path / "set.safetensors")
    whole = (tmp_path / "set.safetensors").read_bytes()
    broken = tmp_path / "broken.safetensors"
    for length in range(0, len(whole), 997):
        broken.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged"):
            DistilledSet.load(broken)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        DistilledSet.load(tmp_path / "none.safetensors")
