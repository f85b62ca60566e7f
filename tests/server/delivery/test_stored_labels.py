"""Raw labels go out as they lie: the same bytes as through the decoder, the same refusals."""

import numpy as np
import pytest
import torch

from labelcast.codec import CodecHeader, LabelKind, Precision, RawCodec, TemperatureRange
from labelcast.codec.artifact import write_artifact
from labelcast.errors import LabelValueError
from labelcast.representation import Representation
from labelcast.torch.decoding import load_decoder
from labelcast_server.decoder.decode_rows import decode_rows
from labelcast_server.delivery.stored_labels import are_stored

CLASSES = 7
LOGITS = CodecHeader(CLASSES, LabelKind.LOGITS, None)
SHARES = CodecHeader(CLASSES, LabelKind.PROBABILITIES, TemperatureRange(2, 2))


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("header", [LOGITS, SHARES], ids=lambda header: str(header.label_kind))
def test_the_same_bytes_as_through_the_decoder(header: CodecHeader, precision: Precision) -> None:
    codec, form = RawCodec(header, precision), Representation.logits(precision)
    values = np.random.default_rng(0).normal(0, 9, (50, CLASSES))
    if header is SHARES:
        form = Representation.probabilities(2, precision)
        values = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    rows = values.astype(precision.dtype).view(np.uint8)
    assert are_stored(codec, form)
    codec.check_rows(rows)
    decoder = load_decoder(write_artifact(codec, rows), torch.device("cpu"))
    assert np.array_equal(decode_rows(decoder, form, rows.copy()), rows)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", Precision)
def test_what_decoding_refuses_is_refused(precision: Precision, value: float) -> None:
    values = np.zeros((5, CLASSES), precision.dtype)
    codec = RawCodec(LOGITS, precision)
    for largest in (np.finfo(precision.dtype).max, np.finfo(precision.dtype).min):
        values[3, 2] = largest
        codec.check_rows(values.view(np.uint8))
    values[3, 2] = value
    with pytest.raises(LabelValueError, match="NaN or infinity"):
        codec.check_rows(values.view(np.uint8))


@pytest.mark.parametrize(
    ("header", "form"),
    [
        (LOGITS, Representation.logits(Precision.FP32)),
        (LOGITS, Representation.probabilities(2)),
        (LOGITS, Representation.top_k(3, 2)),
        (SHARES, Representation.top_k(3, 2)),
    ],
    ids=repr,
)
def test_other_forms_are_decoded(header: CodecHeader, form: Representation) -> None:
    assert not are_stored(RawCodec(header, Precision.FP16), form)
