"""Conditioned torch decoders against the numpy reference, on every device that the machine has."""

from typing import Any

import numpy as np
import pytest
import torch

from labelcast.codec import TOLERANCES, Precision
from labelcast.errors import CodecError, CodecFormatError, CodeRangeError, GoldenRowsError
from labelcast.torch.decoding import TorchDecoder, load_decoder
from tests.factories.codecs import (
    CONDITIONED,
    NUM_CLASSES,
    SAMPLES,
    ConditionedSample,
    Sample,
    conditioned,
)

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
every_conditioned = pytest.mark.parametrize("sample", CONDITIONED.values(), ids=CONDITIONED)
SAMPLE = CONDITIONED["hidden"]


def agree(actual: torch.Tensor, sample: ConditionedSample) -> bool:
    expected = sample.codec.decode(sample.rows, sample.context)
    return TOLERANCES[Precision.FP32].accepts(actual.cpu().numpy(), expected)


@every_device
@every_conditioned
def test_labels_are_those_of_numpy(sample: ConditionedSample, device: str) -> None:
    decoder = load_decoder(sample.artifact, device)
    assert decoder.context_stride == sample.codec.context_stride
    labels = decoder(sample.rows, sample.context)
    assert (labels.shape, labels.dtype) == ((9, NUM_CLASSES), torch.float32)
    assert labels.device.type == device
    assert agree(labels, sample)
    assert decoder(sample.rows[:0], sample.context[:0]).shape == (0, NUM_CLASSES)


@every_conditioned
def test_context_may_be_read_only_strided_misaligned_or_a_tensor(
    sample: ConditionedSample,
) -> None:
    decoder = TorchDecoder.from_codec(sample.codec, "cpu")
    context, shape = sample.context, sample.context.shape
    read_only = np.frombuffer(b"\0" + context.tobytes(), np.uint8)[1:].reshape(shape)
    wide = np.pad(context, ((0, 0), (1, 2)))
    flat = torch.from_numpy(np.concatenate([[np.uint8(0)], context.ravel()]))
    for given in (
        read_only,
        wide[:, 1:-2],
        torch.from_numpy(context),
        torch.from_numpy(wide)[:, 1:-2],
        flat[1:].reshape(shape),
    ):
        assert agree(decoder(sample.rows, given), sample)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = TorchDecoder.from_codec(SAMPLE.codec, "cpu")
    monkeypatch.setattr("labelcast.torch.decoding._MAX_BLOCK_ROWS", 2)
    assert agree(decoder(SAMPLE.rows, SAMPLE.context), SAMPLE)


def test_any_context_is_accepted_or_refused_as_by_numpy() -> None:
    decoder = TorchDecoder.from_codec(SAMPLE.codec, "cpu")
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        context = SAMPLE.context[:2].copy()
        context[1, generator.integers(context.shape[1])] = generator.integers(256)
        try:
            expected = SAMPLE.codec.decode(SAMPLE.rows[:2], context)
        except CodecError as error:
            refused += 1
            with pytest.raises(type(error)):
                decoder(SAMPLE.rows[:2], context)
        else:
            labels = decoder(SAMPLE.rows[:2], context).numpy()
            assert TOLERANCES[Precision.FP32].accepts(labels, expected)
    assert 30 < refused < 270


@every_conditioned
def test_a_missing_context_is_refused(sample: ConditionedSample) -> None:
    with pytest.raises(CodecFormatError, match="missing"):
        TorchDecoder.from_codec(sample.codec, "cpu")(sample.rows)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_context_that_nobody_asked_for_is_refused(sample: Sample) -> None:
    decoder = TorchDecoder.from_codec(sample.codec, "cpu")
    for width in (0, SAMPLE.codec.context_stride):
        with pytest.raises(CodecFormatError, match="not wanted"):
            decoder(sample.rows, np.zeros((len(sample.rows), width), np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        SAMPLE.context[:-1],
        np.repeat(SAMPLE.context, 2, axis=0),
        SAMPLE.context[:1],
        SAMPLE.context[:, :-1],
        np.pad(SAMPLE.context, ((0, 0), (0, 1))),
        SAMPLE.context[0],
        SAMPLE.context.astype(np.int32),
        torch.from_numpy(SAMPLE.context).to(torch.int8),
    ],
    ids=["fewer", "more", "one", "narrow", "wide", "flat", "int32", "int8"],
)
def test_context_rows_of_another_count_shape_or_type_are_refused(wrong: Any) -> None:
    with pytest.raises(CodecFormatError):
        TorchDecoder.from_codec(SAMPLE.codec, "cpu")(SAMPLE.rows, wrong)


@every_device
@pytest.mark.parametrize("number", [NUM_CLASSES, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_class_that_there_is_not_is_refused(device: str, number: int) -> None:
    context = SAMPLE.context.copy()
    context[5].view("<u4")[1] = number
    with pytest.raises(CodeRangeError):
        TorchDecoder.from_codec(SAMPLE.codec, device)(SAMPLE.rows, context)


@every_device
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 4.001, 1e30])
def test_geometry_that_no_policy_draws_is_refused(device: str, value: float) -> None:
    context = SAMPLE.context.copy()
    context[5, 8:].view("<f4")[16] = value
    with pytest.raises(CodecFormatError, match="no policy draws"):
        TorchDecoder.from_codec(SAMPLE.codec, device)(SAMPLE.rows, context)


def test_a_conditioned_decoder_that_strays_is_refused() -> None:
    other = conditioned(precision=Precision.FP32).codec
    with pytest.raises(GoldenRowsError):
        TorchDecoder.from_codec(other, "cpu").prove(SAMPLE.artifact)
