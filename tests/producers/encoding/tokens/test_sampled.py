"""Draws: unbiased, the same again, and 36 bytes."""

import numpy as np
import pytest

from labelcast.codec import Rows
from labelcast.codec.sparse import SampledCodec
from labelcast.errors import CodecFormatError, CodeRangeError, InvalidRequestError, LabelValueError
from labelcast_producers.encoding.tokens.sampled import SampledEncoder
from tests.factories.token_rows import encode, header_of, logits_of, softmax

DRAWN = 6_000


@pytest.mark.parametrize("proposal", [1.0, 0.8, 1.5])
@pytest.mark.parametrize("slots", [1, 3, 12])
def test_labels_are_the_teachers_on_average(slots: int, proposal: float) -> None:
    """Each probability within 5 standard errors, over that many samples with the same logits."""
    # The least likely token has 0.003, and comes often enough to tell its deviation.
    logits = (logits_of(1, 30) / 3).astype(np.float32)
    exact = softmax(logits)[0]
    encoder = SampledEncoder.drawing(header_of(30), slots, proposal=proposal)
    labels = encoder.codec.decode(encode(encoder, np.repeat(logits, DRAWN, axis=0)))
    errors = labels.std(axis=0) / np.sqrt(DRAWN)
    assert (np.abs(labels.mean(axis=0, dtype=np.float64) - exact) < 5 * errors).all()


def test_12_samples_take_36_bytes() -> None:
    for vocabulary, last in ((49_152, 255), (128_256, 127), (262_144, 63)):
        codec = SampledEncoder.drawing(header_of(vocabulary)).codec
        assert (codec.row_stride, codec.last_level) == (36, last)
    assert SampledEncoder.drawing(header_of(49_152), proposal=1.2).codec.row_stride == 38


def test_encoding_again_gives_the_same_bytes() -> None:
    logits = logits_of(20, 300)
    first = encode(SampledEncoder.drawing(header_of(300)), logits)
    again = encode(SampledEncoder.drawing(header_of(300)), logits)
    np.testing.assert_array_equal(first, again)


def test_samples_positions_and_keys_draw_on_their_own() -> None:
    logits = np.repeat(logits_of(1, 300), 20, axis=0)
    encoder = SampledEncoder.drawing(header_of(300))
    rows = encode(encoder, logits)
    others = [
        encode(encoder, logits, first=2**40),
        encode(SampledEncoder.drawing(header_of(300), key=2**33), logits),
        encoder.encode(
            logits,
            sample_ids=np.zeros(20, np.uint64),
            positions=np.arange(20, dtype=np.uint32),
        ),
    ]
    for other in others:
        assert (rows[1:] != other[1:]).any(axis=1).all()
    assert len(np.unique(rows, axis=0)) == 20


def test_likely_tokens_are_drawn_more_often_than_there_are_slots() -> None:
    logits = logits_of(50, 300)
    encoder = SampledEncoder.drawing(header_of(300))
    labels = encoder.codec.sparse(encode(encoder, logits))
    np.testing.assert_allclose(labels.probabilities.sum(axis=1), 1, rtol=1e-6)
    smallest = np.where(labels.probabilities > 0, labels.probabilities, 1).min(axis=1)
    assert np.median(smallest) < 1 / 20


@pytest.mark.parametrize("proposal", [0.0, -1.0, np.nan, np.inf])
def test_impossible_proposals_are_refused(proposal: float) -> None:
    with pytest.raises(InvalidRequestError, match="a proposal of temperature"):
        SampledEncoder.drawing(header_of(30), proposal=proposal)


def test_proposals_need_the_codec_that_keeps_them() -> None:
    for weighted, wrong, right in ((False, 2.0, 1.0), (True, 1.0, 2.0)):
        codec = SampledCodec(header_of(30), 12, weighted=weighted)
        with pytest.raises(InvalidRequestError, match="take 1 with counts, and others above 0"):
            SampledEncoder(codec, proposal=wrong)
        SampledEncoder(codec, proposal=right)


@pytest.mark.parametrize("key", [-1, 2**64])
def test_keys_have_64_bits(key: int) -> None:
    with pytest.raises(InvalidRequestError, match="64 bits"):
        SampledEncoder.drawing(header_of(30), key=key)


def row(*slots: tuple[int, int], scale: int | None = None) -> Rows:
    """A row of slots (ID, level) of a vocabulary of 50, whose IDs have 6 bits."""
    content = b"" if scale is None else scale.to_bytes(2, "little")
    for number, level in slots:
        content += (number | level << 6).to_bytes(3, "little")
    return np.frombuffer(content, np.uint8)[None]


COUNTS = SampledCodec(header_of(50), 3)
WEIGHTS = SampledCodec(header_of(50), 3, weighted=True)


def test_rows_worked_out_by_hand() -> None:
    labels = COUNTS.decode(row((4, 3), (49, 1), (0, 0)))
    np.testing.assert_allclose(labels[0, [4, 49]], [0.75, 0.25])
    assert labels.sum() == 1
    # 0x3F00 is 0.5; the last level is the scale itself, level 1 is 2⁻²⁴ of it and a 2¹⁸th more.
    last = 2**18 - 1
    labels = WEIGHTS.decode(row((4, last), (9, 1), (0, 0), scale=0x3F00))
    np.testing.assert_allclose(labels[0, [4, 9]], [0.5, 2**-25], rtol=1e-4)


@pytest.mark.parametrize(
    ("codec", "wrong", "error"),
    [
        (COUNTS, row((50, 1), (0, 0), (0, 0)), CodeRangeError),
        (COUNTS, row((0, 0), (0, 0), (0, 0)), LabelValueError),
        (COUNTS, row((4, 1), (5, 0), (0, 0)), CodecFormatError),
        (COUNTS, row((4, 1), (0, 0), (5, 1)), CodecFormatError),
        (COUNTS, row((4, 1), (4, 1), (0, 0)), CodecFormatError),
        (COUNTS, row((4, 1), (3, 1), (0, 0)), CodecFormatError),
        (WEIGHTS, row((4, 1), (0, 0), (0, 0), scale=0), LabelValueError),
        (WEIGHTS, row((4, 1), (0, 0), (0, 0), scale=0x7FC0), LabelValueError),
        (WEIGHTS, row((4, 1), (0, 0), (0, 0), scale=0xBF80), LabelValueError),
        (COUNTS, np.zeros((1, 8), np.uint8), CodecFormatError),
    ],
)
def test_rows_that_no_encoder_writes_are_refused(
    codec: SampledCodec, wrong: Rows, error: type[Exception]
) -> None:
    with pytest.raises(error):
        codec.check_rows(wrong)


@pytest.mark.parametrize(
    "config",
    [
        {"slots": 0, "weighted": False},
        {"slots": 5_000, "weighted": False},
        {"slots": 5, "weighted": 1},
        {"slots": 5},
        {"slots": 5, "weighted": False, "key": 1},
    ],
)
def test_impossible_parameters_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(CodecFormatError):
        SampledCodec.tensor_specs(header_of(50), config)
