"""Rows of hidden states: what they decode to, and which are refused."""

from typing import Any

import numpy as np
import pytest

from labelcast.codec import CodecHeader, LabelKind, Rows, read_artifact, write_artifact
from labelcast.codec.latent import HiddenCodec, StatePrecision
from labelcast.errors import CodecError, CodecFormatError, LabelValueError

HEADER = CodecHeader(11, LabelKind.LOGITS, None)
INT8 = HiddenCodec(
    HEADER, 5, StatePrecision.INT8, block=3, channels=np.array([1, 2, 4, 8, 16], np.float32)
)


def int8_row(scales: list[int], levels: list[int]) -> Rows:
    """One row of bf16 scales, given as bits, and levels."""
    content = np.array(scales, "<u2").tobytes() + np.array(levels, "i1").tobytes()
    return np.frombuffer(content, np.uint8)[None]


def test_a_value_is_level_times_the_scales_of_block_and_channel() -> None:
    # 0x3F80 is 1.0 and 0x4040 is 3.0.
    states = INT8.latents(int8_row([0x3F80, 0x4040], [1, -2, 127, 0, -127]))
    np.testing.assert_array_equal(states, [[1, -4, 508, 0, -127 * 3 * 16]])
    assert INT8.row_stride == 2 * 2 + 5


@pytest.mark.parametrize("precision", [StatePrecision.FP16, StatePrecision.FP32])
def test_floats_are_given_back(precision: StatePrecision) -> None:
    codec = HiddenCodec(HEADER, 3, precision)
    states = np.array([[1.5, -2.25, 0.0], [7.0, 0.125, -0.5]], np.float32)
    np.testing.assert_array_equal(
        codec.latents(states.astype(precision.dtype).view(np.uint8)), states
    )


@pytest.mark.parametrize(
    ("scales", "levels", "says"),
    [
        ([0x7F80, 0], [0] * 5, "negative, infinite or NaN"),
        ([0x7FC0, 0], [0] * 5, "negative, infinite or NaN"),
        ([0xBF80, 0], [0] * 5, "negative, infinite or NaN"),
        ([0x3F80, 0x3F80], [-128, 0, 0, 0, 0], "-128"),
        ([0x3F80, 0], [1, 0, 0, 0, 1], "whose scale is 0"),
        ([0x7F7F, 0], [127, 0, 0, 0, 0], "not finite"),
    ],
)
def test_rows_that_no_encoder_writes_are_refused(
    scales: list[int], levels: list[int], says: str
) -> None:
    with pytest.raises(LabelValueError, match=says):
        INT8.check_rows(int8_row(scales, levels))


@pytest.mark.parametrize("precision", [StatePrecision.FP16, StatePrecision.FP32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_not_finite_are_refused(precision: StatePrecision, value: float) -> None:
    codec = HiddenCodec(HEADER, 2, precision)
    with pytest.raises(LabelValueError, match="not finite"):
        codec.check_rows(np.array([[0, value]], precision.dtype).view(np.uint8))


@pytest.mark.parametrize("rows", [np.zeros((2, 8), np.uint8), np.zeros((2, 9), np.int8)])
def test_rows_of_another_shape_are_refused(rows: Any) -> None:
    with pytest.raises(CodecFormatError, match=r"\(N, 9\)"):
        INT8.check_rows(rows)


def test_any_bytes_give_finite_states_or_a_typed_error() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (300, INT8.row_stride), dtype=np.uint8)
    for row in rows:
        try:
            assert np.isfinite(INT8.latents(row[None])).all()
        except CodecError:
            continue


@pytest.mark.parametrize(
    "wrong",
    [
        {"block": 0},
        {"channels": None},
        {"channels": np.ones(4, np.float32)},
        {"channels": np.ones(5)},
        {"channels": np.array([1, 1, 1, 1, 0], np.float32)},
        {"channels": np.array([1, 1, 1, 1, np.nan], np.float32)},
        {"precision": StatePrecision.FP16},
    ],
)
def test_scales_must_fit_the_states(wrong: dict[str, Any]) -> None:
    right: dict[str, Any] = {
        "precision": StatePrecision.INT8,
        "block": 3,
        "channels": np.ones(5, np.float32),
    }
    with pytest.raises(CodecFormatError):
        HiddenCodec(HEADER, 5, **(right | wrong))


@pytest.mark.parametrize(
    "config",
    [
        {"width": 5, "precision": "int8"},
        {"width": 5, "precision": "int8", "block": 6},
        {"width": 5, "precision": "int8", "block": 0},
        {"width": 5, "precision": "fp16", "block": 3},
        {"width": 0, "precision": "fp16"},
        {"width": 2**16 + 1, "precision": "fp16"},
        {"width": 5, "precision": "int4"},
        {"width": 5, "precision": "fp16", "rotated": True},
    ],
)
def test_impossible_parameters_are_refused_before_anything_is_allocated(
    config: dict[str, Any],
) -> None:
    with pytest.raises(CodecFormatError):
        HiddenCodec.tensor_specs(HEADER, config)


@pytest.mark.parametrize("codec", [INT8, HiddenCodec(HEADER, 5, StatePrecision.FP16)])
def test_an_artifact_proves_the_states(codec: HiddenCodec) -> None:
    rows = np.zeros((3, codec.row_stride), np.uint8)
    read = read_artifact(write_artifact(codec, rows))
    assert isinstance(read, HiddenCodec)
    assert (read.config(), read.header) == (codec.config(), codec.header)
    np.testing.assert_array_equal(read.latents(rows), np.zeros((3, 5), np.float32))


def test_an_artifact_holds_nothing_as_wide_as_the_vocabulary() -> None:
    codec = HiddenCodec(CodecHeader(262_144, LabelKind.LOGITS, None), 5, StatePrecision.FP16)
    assert len(write_artifact(codec, np.zeros((64, 10), np.uint8))) < 2**13
