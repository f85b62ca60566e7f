"""Parts of labels: the same as of whole ones, in bounded memory."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.codec import Codec, CodecHeader, LabelKind, Precision, RawCodec, Rows
from labelcast.codec.latent import HiddenCodec, StatePrecision
from labelcast.codec.ranking import largest
from labelcast.codec.readout import readout
from labelcast.codec.sparse import MissingMass, PackedTopKCodec
from labelcast.errors import CodecFormatError, CodeRangeError, InvalidRequestError
from labelcast_producers.encoding.tokens.hidden import HiddenEncoder
from labelcast_producers.encoding.tokens.packed_top_k import PackedTopKEncoder
from tests.factories.codecs import SAMPLES
from tests.factories.token_rows import SPARSE, encode, head_of, header_of, logits_of

V, D, COUNT = 300, 6, 40
Made = tuple[Codec, Rows]


def hidden() -> Made:
    states = np.random.default_rng(0).normal(size=(COUNT, D)).astype(np.float32)
    encoder = HiddenEncoder.calibrated(V, states)
    return encoder.codec.with_head(head_of(V, D)), encode(encoder, states)


def sparse(name: str) -> Made:
    encoder = SPARSE[name](V)
    return encoder.codec, encode(encoder, logits_of(COUNT, V))


def raw() -> Made:
    codec = RawCodec(CodecHeader(V, LabelKind.LOGITS, None), Precision.FP32)
    return codec, logits_of(COUNT, V).view(np.uint8)


MADE: dict[str, Callable[[], Made]] = {
    "hidden": hidden,
    "raw": raw,
    **{name: (lambda name=name: sparse(name)) for name in SPARSE},  # type: ignore[misc]
}
every_codec = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


def whole(codec: Codec, rows: Rows, temperature: float = 1.0) -> NDArray[np.float64]:
    """Log-probabilities of all classes."""
    labels = codec.decode(rows).astype(np.float64)
    if codec.header.label_kind is LabelKind.PROBABILITIES:
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(labels))
    labels /= temperature
    labels -= labels.max(axis=1, keepdims=True)
    return np.asarray(labels - np.log(np.exp(labels).sum(axis=1, keepdims=True)))


@every_codec
@pytest.mark.parametrize("k", [1, 7, 60, V])
def test_the_likeliest_are_those_of_whole_labels(make: Callable[[], Made], k: int) -> None:
    codec, rows = make()
    expected = whole(codec, rows)
    ids, values = readout(codec, rows).top_k(k)
    assert ids.dtype == np.int64
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, -np.sort(-expected, axis=1)[:, :k], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, ids, axis=1), values, atol=1e-5)
    assert all(len(set(row)) == k for row in ids.tolist())
    # Of equal ones, the lower ID first.
    equal = values[:, 1:] == values[:, :-1]
    assert (ids[:, 1:] > ids[:, :-1])[equal].all()


@every_codec
def test_log_probabilities_are_those_of_whole_labels(make: Callable[[], Made]) -> None:
    codec, rows = make()
    ids = np.random.default_rng(3).integers(0, V, (COUNT, 11))
    values = readout(codec, rows).log_probabilities_at(ids)
    expected = np.take_along_axis(whole(codec, rows), ids, axis=1)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    assert readout(codec, rows).log_probabilities_at(ids[:, :0]).shape == (COUNT, 0)


@every_codec
def test_no_rows_give_nothing(make: Callable[[], Made]) -> None:
    codec, rows = make()
    read = readout(codec, rows[:0])
    assert len(read) == 0
    assert read.top_k(3)[0].shape == (0, 3)
    assert read.log_probabilities_at(np.zeros((0, 2), np.int64)).shape == (0, 2)


@pytest.mark.parametrize("make", [hidden, raw])
@pytest.mark.parametrize("temperature", [0.5, 4.0])
def test_logits_are_read_at_any_temperature(make: Callable[[], Made], temperature: float) -> None:
    codec, rows = make()
    read, expected = readout(codec, rows, temperature), whole(codec, rows, temperature)
    ids, values = read.top_k(5)
    np.testing.assert_allclose(np.take_along_axis(expected, ids, axis=1), values, atol=1e-5)
    np.testing.assert_allclose(read.log_probabilities_at(ids), values, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_impossible_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(InvalidRequestError, match="use one above 0"):
        readout(*hidden(), temperature)


def test_probabilities_have_one_temperature() -> None:
    with pytest.raises(InvalidRequestError, match=r"use 1\.0 to 1\.0"):
        readout(*sparse("sampled"), 2.0)
    readout(*sparse("sampled"), 1.0)


def test_states_are_given_where_there_are_some() -> None:
    codec, rows = hidden()
    assert isinstance(codec, HiddenCodec)
    np.testing.assert_array_equal(readout(codec, rows).latents(), codec.latents(rows))
    with pytest.raises(CodecFormatError, match="raw rows hold no hidden states"):
        readout(*raw()).latents()


def test_a_head_is_needed() -> None:
    codec = HiddenCodec(CodecHeader(V, LabelKind.LOGITS, None), D, StatePrecision.FP16)
    with pytest.raises(CodecFormatError, match="head is not at hand"):
        readout(codec, np.zeros((1, 2 * D), np.uint8))


@every_codec
def test_what_is_not_there_is_refused(make: Callable[[], Made]) -> None:
    read = readout(*make())
    for k in (0, V + 1):
        with pytest.raises(InvalidRequestError, match=f"1 to {V} classes, not {k}"):
            read.top_k(k)
    for ids in (np.full((COUNT, 1), V), np.full((COUNT, 1), -1)):
        with pytest.raises(CodeRangeError):
            read.log_probabilities_at(ids)
    wrongs: list[Any] = [np.zeros((COUNT - 1, 1), int), np.zeros(COUNT, int), np.zeros((COUNT, 1))]
    for wrong in wrongs:
        with pytest.raises(InvalidRequestError, match=r"integers of shape \(40, m\)"):
            read.log_probabilities_at(wrong)


def test_damaged_rows_are_refused() -> None:
    codec, rows = hidden()
    damaged = rows.copy()
    damaged[COUNT - 1, :2] = 255
    with pytest.raises(Exception, match="scale of a row"):
        readout(codec, damaged)


def test_equal_values_are_ranked_by_id() -> None:
    values = np.array([[1, 3, 3, 2, 3, 2, 2]], np.float32)
    assert largest(values, 2).tolist() == [[1, 2]]
    assert largest(values, 4).tolist() == [[1, 2, 3, 4]]
    assert largest(values, 5).tolist() == [[1, 2, 3, 4, 5]]


def test_no_context_is_taken_up() -> None:
    conditioned = [each for each in SAMPLES.values() if each.codec.context_stride]
    for sample in conditioned:
        with pytest.raises(CodecFormatError, match="with their context alone"):
            readout(sample.codec, sample.rows)


@pytest.mark.parametrize("vocabulary", [262_144])
def test_memory_is_bounded_whatever_the_vocabulary(vocabulary: int) -> None:
    """Whole labels would take 125 MB; a slice of the head and some rows take a few megabytes."""
    count = 120
    drawn = np.random.default_rng(0)
    states = drawn.normal(size=(count, 2)).astype(np.float32)
    latent = HiddenEncoder.calibrated(vocabulary, states)
    codec = PackedTopKCodec.within(header_of(vocabulary), 80, MissingMass.SPREAD)
    some = encode(PackedTopKEncoder(codec), logits_of(4, vocabulary))
    made: list[Made] = [
        (latent.codec.with_head(head_of(vocabulary, 2)), encode(latent, states)),
        (codec, np.tile(some, (count // 4, 1))),
    ]
    ids = drawn.integers(0, vocabulary, (count, 8))
    for each, rows in made:
        tracemalloc.start()
        read = readout(each, rows)
        read.top_k(10)
        read.log_probabilities_at(ids)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64 * 2**20
