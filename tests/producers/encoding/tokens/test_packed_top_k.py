"""The k likeliest tokens, what the others get, and how few bytes that takes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelcast.codec import Rows
from labelcast.codec.sparse import MissingMass, PackedTopKCodec
from labelcast.codec.sparse.rising_ids import RisingIds
from labelcast.errors import CodecFormatError, CodeRangeError, LabelValueError
from tests.factories.token_rows import encode, header_of, logits_of, packed, softmax


@st.composite
def id_sets(draw: st.DrawFn) -> tuple[int, list[int]]:
    classes = draw(st.integers(1, 2**20))
    ids = draw(st.sets(st.integers(0, classes - 1), min_size=1, max_size=min(classes, 40)))
    return classes, sorted(ids)


@given(id_sets())
def test_sets_of_ids_come_back(drawn: tuple[int, list[int]]) -> None:
    classes, ids = drawn
    coder = RisingIds(classes, len(ids))
    bits = coder.write(np.array([ids]))
    assert bits.shape == (1, coder.bits)
    # Never longer than the IDs one after the other.
    assert coder.bits <= max(1, (classes - 1).bit_length()) * len(ids) + 1
    np.testing.assert_array_equal(coder.read(bits), [ids])


def test_bytes_of_a_row() -> None:
    header = header_of(49_152)
    assert PackedTopKCodec.within(header, 80, MissingMass.SPREAD).k == 39
    assert PackedTopKCodec.within(header, 114, MissingMass.SPREAD).k == 57
    wide = PackedTopKCodec.within(header_of(262_144), 80, MissingMass.SPREAD)
    assert (wide.k, wide.row_stride) == (33, 79)
    with pytest.raises(CodecFormatError, match="no class fits into 2 bytes"):
        PackedTopKCodec.within(header, 2, MissingMass.SPREAD)


@pytest.mark.parametrize("missing", MissingMass)
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_each_rule_gives_the_others_what_it_says(missing: MissingMass, bits: int) -> None:
    logits = logits_of(60, 50)
    exact, encoder = softmax(logits), packed(missing, bits=bits)
    labels = encoder.codec.decode(encode(encoder, logits)).astype(np.float64)
    top = np.argsort(-exact, axis=1)[:, :9]
    named = np.take_along_axis(exact, top, axis=1)
    expected = np.zeros_like(exact)
    left = 1 - named.sum(axis=1, keepdims=True)
    if missing in {MissingMass.SPREAD, MissingMass.LUMPED}:
        expected += left / 41
    if missing is MissingMass.RENORMALISE:
        named = named / named.sum(axis=1, keepdims=True)
    np.put_along_axis(expected, top, named, axis=1)
    tolerance = {4: 0.06, 8: 0.008, 16: 0.004}[bits]
    np.testing.assert_allclose(labels, expected, atol=tolerance)
    total = 1 if missing is not MissingMass.ZERO else 1 - left[:, 0]
    np.testing.assert_allclose(labels.sum(axis=1), total, atol=0.004)
    codec = encoder.codec
    assert codec.sparse(encode(encoder, logits)).lumped == (missing is MissingMass.LUMPED)


def test_of_equal_tokens_those_of_the_lowest_ids_are_named() -> None:
    encoder = packed()
    labels = encoder.codec.sparse(encode(encoder, np.zeros((1, 50), np.float32)))
    np.testing.assert_array_equal(labels.ids, [np.arange(9)])
    np.testing.assert_allclose(labels.dense(50), 0.02, atol=1e-3)


def test_a_certain_label_stays_so() -> None:
    logits = np.full((1, 50), -np.inf, np.float32)
    logits[0, 30] = 4
    encoder = packed()
    labels = encoder.codec.decode(encode(encoder, logits))
    np.testing.assert_array_equal(labels[0], np.eye(50)[30])


def test_the_whole_vocabulary_can_be_named() -> None:
    encoder, logits = packed(k=50, bits=16), logits_of(5, 50)
    labels = encoder.codec.decode(encode(encoder, logits))
    np.testing.assert_allclose(labels, softmax(logits), atol=1e-4)


def row_of(ids: list[int], levels: list[int], mass: int) -> tuple[PackedTopKCodec, Rows]:
    codec = PackedTopKCodec(header_of(50), len(ids), 3, MissingMass.SPREAD)
    packed_rows = codec.pack(np.array([ids]), np.array([levels]), np.array([mass], np.uint8))
    return codec, packed_rows


def test_a_row_worked_out_by_hand() -> None:
    # Levels 7 and 0 of 7; a mass of 51 is 51² / (51² + 204²) = 1 / 17, shared by 49 tokens.
    codec, row = row_of([3, 40], [7, 0], 51)
    labels = codec.decode(row)
    np.testing.assert_allclose(labels[0, 3], 16 / 17)
    np.testing.assert_allclose(np.delete(labels[0], 3), 1 / 17 / 49)


@pytest.mark.parametrize(
    ("ids", "levels", "mass", "error"),
    [
        ([3, 40], [0, 0], 9, LabelValueError),
        ([3, 40], [7, 1], 255, LabelValueError),
        ([3, 63], [7, 1], 9, CodeRangeError),
        ([3, 3], [7, 1], 9, CodecFormatError),
        ([5, 4], [7, 1], 9, CodecFormatError),
    ],
)
def test_rows_that_no_encoder_writes_are_refused(
    ids: list[int], levels: list[int], mass: int, error: type[Exception]
) -> None:
    codec, row = row_of(ids, levels, mass)
    with pytest.raises(error):
        codec.check_rows(row)


def test_padding_and_maps_are_checked() -> None:
    codec, row = row_of([3, 40], [7, 1], 9)
    used = codec.ids.bits + 2 * codec.bits
    assert used % 8
    padded = row.copy()
    padded[0, -1] |= 0x80
    with pytest.raises(CodecFormatError, match="padding"):
        codec.check_rows(padded)
    empty = row.copy()
    empty[0, 1:] = 0
    with pytest.raises(CodecFormatError, match="does not name 2"):
        codec.check_rows(empty)


def test_mass_must_be_somewhere() -> None:
    codec = PackedTopKCodec(header_of(2), 2, 3, MissingMass.SPREAD)
    row = codec.pack(np.array([[0, 1]]), np.array([[7, 7]]), np.array([9], np.uint8))
    with pytest.raises(LabelValueError, match="something to no class"):
        codec.check_rows(row)


@pytest.mark.parametrize(
    "config",
    [
        {"k": 51, "bits": 4, "missing": "spread"},
        {"k": 0, "bits": 4, "missing": "spread"},
        {"k": 5, "bits": 17, "missing": "spread"},
        {"k": 5, "bits": 4, "missing": "guess"},
        {"k": 5, "bits": 4},
        {"k": 5, "bits": 4, "missing": "zero", "sorted": True},
    ],
)
def test_impossible_parameters_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(CodecFormatError):
        PackedTopKCodec.tensor_specs(header_of(50), config)
