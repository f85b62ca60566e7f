"""What holds for every encoder of logits and its codec."""

from collections.abc import Callable

import numpy as np
import pytest

from labelcast.codec import read_artifact, write_artifact
from labelcast.codec.sparse import SparseCodec
from labelcast.errors import CodecError, CodecFormatError, LabelValueError
from labelcast_producers.encoding.tokens.base import TokenEncoder
from labelcast_producers.encoding.tokens.hidden import HiddenEncoder
from labelcast_producers.encoding.tokens.through_head import ThroughHead
from tests.factories.token_rows import SPARSE, encode, head_of, logits_of

every_kind = pytest.mark.parametrize("make", SPARSE.values(), ids=SPARSE)
Make = Callable[[int], TokenEncoder]


def codec_of(encoder: TokenEncoder) -> SparseCodec:
    assert isinstance(encoder.codec, SparseCodec)
    return encoder.codec


@every_kind
def test_rows_do_not_depend_on_their_neighbours(make: Make) -> None:
    encoder, logits = make(50), logits_of(70, 50)
    together = encode(encoder, logits)
    assert together.shape == (70, encoder.codec.row_stride)
    for row in (0, 63, 64, 69):
        alone = encoder.encode(
            logits[row : row + 1],
            sample_ids=np.array([row], np.uint64),
            positions=np.array([row], np.uint32),
        )
        np.testing.assert_array_equal(alone[0], together[row])
    assert encode(encoder, logits[:0]).shape == (0, encoder.codec.row_stride)


@every_kind
@pytest.mark.parametrize("vocabulary", [50, 1_000, 262_144])
def test_an_artifact_proves_what_rows_name(make: Make, vocabulary: int) -> None:
    encoder = make(vocabulary)
    rows = encode(encoder, logits_of(2, vocabulary))
    content = write_artifact(encoder.codec, np.tile(rows, (32, 1)))
    # However large the vocabulary is.
    assert len(content) < 2**15
    codec = read_artifact(content)
    assert (codec.config(), codec.header) == (encoder.codec.config(), encoder.codec.header)
    labels = codec.decode(rows)
    assert labels.shape == (2, vocabulary)
    assert (labels.argmax(axis=1) == encoder.codec.decode(rows).argmax(axis=1)).all()


@every_kind
def test_any_bytes_give_labels_or_a_typed_error(make: Make) -> None:
    encoder = make(50)
    codec = codec_of(encoder)
    rows = encode(encoder, logits_of(40, 50))
    drawn = np.random.default_rng(0)
    for row in rows:
        damaged = row.copy()
        damaged[drawn.integers(len(row))] = drawn.integers(256)
        try:
            labels = codec.sparse(damaged[None])
        except CodecError:
            continue
        assert ((labels.ids >= 0) & (labels.ids < 50)).all()
        for values in (labels.probabilities, labels.rest):
            assert ((values >= 0) & np.isfinite(values)).all()
        used = labels.ids[labels.probabilities > 0]
        assert len(set(used.tolist())) == len(used)


@pytest.mark.parametrize("make", [each for name, each in SPARSE.items() if name != "distillkit"])
def test_a_token_without_a_probability_gets_none(make: Make) -> None:
    logits = logits_of(3, 50)
    logits[:, 4:] = -np.inf
    encoder = make(50)
    labels = encoder.codec.decode(encode(encoder, logits))
    np.testing.assert_array_equal(labels[:, 4:], 0)


@every_kind
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(make: Make, value: float) -> None:
    logits = logits_of(3, 50)
    logits[1, 7] = value
    with pytest.raises(LabelValueError, match="not finite after position 1 of sample 1"):
        encode(make(50), logits)


@every_kind
def test_a_row_of_nothing_is_refused(make: Make) -> None:
    logits = logits_of(3, 50)
    logits[2] = -np.inf
    with pytest.raises(LabelValueError, match="position 2"):
        encode(make(50), logits)


@every_kind
def test_states_become_rows_through_a_head(make: Make) -> None:
    head = head_of(50, 6)
    states = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    encoder = make(50)
    through = ThroughHead(encoder, head)
    assert (through.width, through.codec) == (6, encoder.codec)
    np.testing.assert_array_equal(encode(through, states), encode(encoder, head.logits(states)))


def test_a_head_must_be_of_the_vocabulary() -> None:
    encoder = SPARSE["sampled"](50)
    with pytest.raises(CodecFormatError, match="a head of 51 tokens"):
        ThroughHead(encoder, head_of(51, 6))
    states = HiddenEncoder.calibrated(50, np.ones((1, 6), np.float32))
    with pytest.raises(CodecFormatError, match="an encoder of 6 states cannot follow"):
        ThroughHead(states, head_of(50, 6))
