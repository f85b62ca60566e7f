"""The classes are distinct pictures, and samples keep their IDs."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
import pytest
import torch

from labelcast_glyphs import GlyphDataset, LabelledImages
from labelcast_glyphs.drawing.characters import (
    GlyphTable,
    candidate_code_points,
    class_name,
    glyph_table,
)
from labelcast_glyphs.drawing.faces import FACES, HELD_OUT_FACES, face_indices

# The list, not the pixels: those may change with FreeType's version, the classes must not.
CHARACTERS_SHA256 = "f334ea63d91226385be88ad98ac0d59ac283433ef3a326dea438d5e4fd3bfe6b"


@pytest.fixture(scope="module")
def table() -> GlyphTable:
    """The 1,000 classes."""
    return glyph_table(1000)


def test_the_list_of_characters_is_pinned(table: GlyphTable) -> None:
    listed = "\n".join(class_name(point) for point in table.code_points)
    assert hashlib.sha256(listed.encode()).hexdigest() == CHARACTERS_SHA256


def test_classes_are_letters_numbers_punctuation_and_symbols(table: GlyphTable) -> None:
    assert len(set(table.code_points)) == 1000
    assert {unicodedata.category(chr(point))[0] for point in table.code_points} == set("LNPS")


@pytest.mark.parametrize("face", range(len(FACES)))
def test_no_two_classes_look_alike_and_none_is_blank(table: GlyphTable, face: int) -> None:
    flat = table.images[:, face].reshape(1000, -1).astype(np.float64)
    norms = (flat**2).sum(1)
    squared = norms[:, None] + norms[None] - 2 * flat @ flat.T
    np.fill_diagonal(squared, np.inf)
    assert squared.min() > 255**2
    assert flat.max(axis=1).min() >= 64


def test_a_smaller_set_is_a_prefix_of_a_larger_one(table: GlyphTable) -> None:
    small = glyph_table(30)
    assert small.code_points == table.code_points[:30]
    assert np.array_equal(small.images, table.images[:30])


@pytest.mark.parametrize("num_classes", [0, -1])
def test_fewer_than_one_class_is_refused(num_classes: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        GlyphDataset("train", num_classes)


def test_more_classes_than_the_fonts_share_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    few = candidate_code_points()[:25]
    monkeypatch.setattr("labelcast_glyphs.drawing.characters.candidate_code_points", lambda: few)
    with pytest.raises(ValueError, match=r"share only 2[0-5] distinct"):
        glyph_table(26)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown split"):
        face_indices("test")  # type: ignore[arg-type]


def test_splits_cover_all_faces_once() -> None:
    train, held_out = GlyphDataset("train"), GlyphDataset("held_out")
    assert (len(train), len(held_out)) == (9000, 3000)
    ids = set(train.sample_ids.tolist()) | set(held_out.sample_ids.tolist())
    assert ids == {label * 16 + face for label in range(1000) for face in range(12)}
    assert train.class_names == held_out.class_names


def test_one_face_of_each_family_is_held_out() -> None:
    families = [face.split("-")[0] for face in HELD_OUT_FACES]
    assert families == ["DejaVuSans", "DejaVuSansMono", "DejaVuSerif"]


def test_sample_ids_name_class_and_face() -> None:
    dataset = GlyphDataset("train", 30)
    assert dataset.sample_ids.dtype == np.uint64
    assert dataset.sample_ids[:11].tolist() == [0, 2, 3, 4, 5, 7, 8, 9, 10, 16, 18]
    assert np.array_equal(dataset.sample_ids // 16, dataset.hard_labels)
    assert (np.diff(dataset.sample_ids.astype(np.int64)) > 0).all()


def test_items_are_float_pictures_with_their_label() -> None:
    dataset = GlyphDataset("held_out", 30)
    image, label = dataset[4]
    assert image.shape == (1, 32, 32)
    assert image.dtype == torch.float32
    assert (float(image.min()), label) == (0.0, 1)
    assert np.array_equal((image[0] * 255).round().numpy(), dataset.images[4])
    assert torch.equal(dataset.image_tensor()[4], image)
    with pytest.raises(IndexError):
        dataset[len(dataset)]


def test_columns_are_read_only_and_the_digest_follows_them() -> None:
    dataset = GlyphDataset("train", 30)
    with pytest.raises(ValueError, match="read-only"):
        dataset.images[0, 0, 0] = 1
    changed = dataset.images.copy()
    changed[0, 0, 0] += 1
    other = LabelledImages(changed, dataset.hard_labels, dataset.sample_ids, dataset.class_names)
    assert dataset.digest() == GlyphDataset("train", 30).digest() != other.digest()


def test_class_names_spell_the_code_point() -> None:
    assert class_name(0x41) == "U+0041 LATIN CAPITAL LETTER A"
