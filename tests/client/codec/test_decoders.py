"""Decoders against labels worked out by hand, and the rows that they must refuse."""

from typing import Any

import numpy as np
import pytest

from labelcast.codec import (
    Codec,
    CodecHeader,
    LabelKind,
    Precision,
    RawCodec,
    Recovery,
    Rows,
    TemperatureRange,
    TopKCodec,
    VqaeCodec,
    VqaeShape,
    pack_codes,
)
from labelcast.errors import CodecError, CodecFormatError, CodeRangeError, LabelValueError
from tests.factories.codecs import AT_ONE, NUM_CLASSES, SAMPLES, Sample, vqae
from tests.factories.decoded import assert_decoded, assert_same_labels

every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


NO_TENSORS: tuple[Any, list[Any]] = (np.zeros((1, 2, 1), np.float16), [])


def top_k_rows(ids: list[int], probabilities: list[float]) -> Rows:
    content = np.array(ids, "<u2").tobytes() + np.array(probabilities, "<f2").tobytes()
    return np.frombuffer(content, np.uint8)[None]


def top_k_codec(recovery: Recovery, k: int = 2, classes: int = 4) -> TopKCodec:
    return TopKCodec(CodecHeader(classes, LabelKind.PROBABILITIES, AT_ONE), k, recovery)


@every_sample
def test_rows_decode_alike_alone_together_and_read_only(sample: Sample) -> None:
    together = sample.codec.decode(sample.rows)
    assert together.shape == (len(sample.rows), NUM_CLASSES)
    assert together.dtype == np.float32
    frozen = sample.rows.copy()
    frozen.flags.writeable = False
    for number in range(len(frozen)):
        alone = sample.codec.decode(frozen[number : number + 1])[0]
        assert_decoded(sample.codec, alone, together[number])


@every_sample
def test_no_rows_give_no_labels(sample: Sample) -> None:
    assert sample.codec.decode(sample.rows[:0]).shape == (0, NUM_CLASSES)


@every_sample
def test_rows_of_another_shape_or_type_are_refused(sample: Sample) -> None:
    wrongs: list[Any] = [sample.rows[:, :-1], sample.rows[0], sample.rows.astype(np.int32)]
    for wrong in wrongs:
        with pytest.raises(CodecFormatError):
            sample.codec.check_rows(wrong)
        with pytest.raises(CodecFormatError):
            sample.codec.decode(wrong)


@every_sample
def test_any_bytes_decode_to_finite_labels_or_a_typed_error(sample: Sample) -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        rows = generator.integers(0, 256, (1, sample.codec.row_stride), dtype=np.uint8)
        try:
            labels = sample.codec.decode(rows)
        except CodecError:
            continue
        assert np.isfinite(labels).all()


def test_raw_gives_the_values_back() -> None:
    values = np.array([[1.5, -2.0, 65504.0]], "<f2")
    codec = RawCodec(CodecHeader(3, LabelKind.LOGITS, None), Precision.FP16)
    np.testing.assert_array_equal(codec.decode(values.view(np.uint8)), values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_raw_refuses_what_is_not_finite(value: float) -> None:
    codec = RawCodec(CodecHeader(2, LabelKind.LOGITS, None), Precision.FP32)
    with pytest.raises(LabelValueError):
        codec.check_rows(np.array([[1, value]], "<f4").view(np.uint8))


def test_top_k_spreads_what_is_missing() -> None:
    labels = top_k_codec(Recovery.SPREAD).decode(top_k_rows([2, 0], [0.5, 0.25]))
    np.testing.assert_array_equal(labels, [[0.25, 0.125, 0.5, 0.125]])


def test_top_k_renormalises_what_is_there() -> None:
    labels = top_k_codec(Recovery.RENORMALISE).decode(top_k_rows([2, 0], [0.5, 0.25]))
    np.testing.assert_allclose(labels, [[1 / 3, 0, 2 / 3, 0]], rtol=1e-6)


def test_top_k_may_leave_the_rest_at_zero() -> None:
    labels = top_k_codec(Recovery.ZERO).decode(top_k_rows([2, 0], [0.5, 0.25]))
    np.testing.assert_array_equal(labels, [[0.25, 0, 0.5, 0]])


@pytest.mark.parametrize("recovery", [Recovery.SPREAD, Recovery.RENORMALISE])
def test_top_k_of_all_classes_is_a_distribution(recovery: Recovery) -> None:
    codec = top_k_codec(recovery, k=2, classes=2)
    labels = codec.decode(top_k_rows([1, 0], [0.5, 0.25]))
    np.testing.assert_allclose(labels, [[1 / 3, 2 / 3]], rtol=1e-6)


@pytest.mark.parametrize(
    ("ids", "probabilities", "error"),
    [
        ([4, 0], [0.5, 0.1], CodeRangeError),
        ([1, 1], [0.5, 0.1], CodecFormatError),
        ([1, 0], [0.9, 0.2], LabelValueError),
        ([1, 0], [0.0, 0.0], LabelValueError),
        ([1, 0], [0.5, -0.1], LabelValueError),
        ([1, 0], [0.5, np.nan], LabelValueError),
        ([1, 0], [np.inf, 0.1], LabelValueError),
    ],
)
def test_top_k_refuses_what_no_encoder_writes(
    ids: list[int], probabilities: list[float], error: type[CodecError]
) -> None:
    rows = top_k_rows(ids, probabilities)
    for recovery in Recovery:
        with pytest.raises(error):
            top_k_codec(recovery).check_rows(rows)
        with pytest.raises(error):
            top_k_codec(recovery).decode(rows)


def test_class_ids_widen_where_two_bytes_are_too_few() -> None:
    header = CodecHeader(2**16 + 1, LabelKind.PROBABILITIES, AT_ONE)
    codec = TopKCodec(header, 1, Recovery.RENORMALISE)
    row = np.array([2**16], "<u4").tobytes() + np.array([0.5], "<f2").tobytes()
    assert codec.decode(np.frombuffer(row, np.uint8)[None])[0, 2**16] == 1


def test_vqae_decodes_as_worked_out_by_hand() -> None:
    codebooks = np.array([[[1], [-2]], [[3], [4]]], "<f2")
    layers = [
        (np.array([[1, 1], [-1, 0]], "<f2"), np.array([0, 1], "<f2")),
        (np.array([[2, 3]], "<f2"), np.array([0.5], "<f2")),
    ]
    shape = VqaeShape(2, 2, 1, (2,))
    codec = VqaeCodec(CodecHeader(1, LabelKind.LOGITS, AT_ONE), shape, codebooks, layers)
    rows = pack_codes(np.array([[0, 0], [1, 1]]), bits=1)
    assert codec.decode(rows).tolist() == [[2 * 4 + 3 * 0 + 0.5], [2 * 2 + 3 * 3 + 0.5]]


def test_vqae_refuses_a_code_outside_its_codebook() -> None:
    codec = vqae(codebook_size=5).codec
    with pytest.raises(CodeRangeError):
        codec.check_rows(pack_codes(np.array([[0, 5, 0]]), bits=3))


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = SAMPLES["vqae"]
    whole = sample.codec.decode(sample.rows)
    monkeypatch.setattr("labelcast.codec.vqae._BLOCK_ROWS", 2)
    assert_same_labels(sample.codec.decode(sample.rows), whole)


@pytest.mark.parametrize(
    "build",
    [
        lambda: CodecHeader(0, LabelKind.LOGITS, None),
        lambda: CodecHeader(2**21, LabelKind.LOGITS, None),
        lambda: CodecHeader(2, LabelKind.PROBABILITIES, None),
        lambda: CodecHeader(2, LabelKind.PROBABILITIES, TemperatureRange(1, 2)),
        lambda: TemperatureRange(0, 1),
        lambda: TemperatureRange(2, 1),
        lambda: TemperatureRange(1, float("inf")),
        lambda: TemperatureRange(float("nan"), 1),
        lambda: TopKCodec(CodecHeader(4, LabelKind.LOGITS, AT_ONE), 2, Recovery.SPREAD),
        lambda: VqaeCodec(
            CodecHeader(4, LabelKind.LOGITS, None), VqaeShape(1, 2, 1, ()), *NO_TENSORS
        ),
    ],
)
def test_headers_that_contradict_themselves_are_refused(build: object) -> None:
    assert callable(build)
    with pytest.raises(CodecFormatError):
        build()


@every_sample
def test_a_codec_is_rebuilt_from_its_config_and_tensors(sample: Sample) -> None:
    codec: Codec = sample.codec
    twin = type(codec).build(codec.header, codec.config(), codec.tensors())
    assert_decoded(codec, twin.decode(sample.rows), codec.decode(sample.rows))
