"""A turn cut into slices gives the labels of a turn that is not."""

import numpy as np
import pytest
import torch

from labelcast import Representation
from labelcast.codec import TOLERANCES, Precision
from labelcast.errors import CodeRangeError
from labelcast.torch.decoding import TorchDecoder
from labelcast_server.decoder.decode_rows import decode_rows
from labelcast_server.decoder.landing import (
    HostLanding,
    PinnedLanding,
    landing_for,
    slice_rows,
)
from tests.factories.label_sets import CodecName
from tests.server.decoder.decoders import Loaded

CPU = torch.device("cpu")
FORMS = [
    Representation.logits(Precision.FP16),
    Representation.logits(Precision.FP32),
    Representation.probabilities(1.0, Precision.FP32),
    Representation.top_k(5, 1.0),
]


@pytest.mark.parametrize("step", [1, 7, 64, 1000])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["raw", "vqae", "vqae-context"])
def test_slices_change_nothing(name: CodecName, form: Representation, step: int) -> None:
    loaded, landing = Loaded(name, 3, count=100), HostLanding()
    decoder = TorchDecoder.from_codec(loaded.codec, CPU)
    whole = decode_rows(decoder, form, loaded.rows)
    # A landing is used for turn after turn.
    for _ in range(2):
        sliced = decode_rows(decoder, form, loaded.rows, landing=landing, step=step)
        assert sliced.shape == whole.shape
        if name == "raw" or form.k is not None:
            # Nothing is summed in another order, or too little to change what fp16 holds.
            assert np.mean(sliced == whole) > (1.0 - 1e-9 if name == "raw" else 0.99)
            continue
        precision = form.precision
        assert precision is not None
        values, expected = (each.copy().view(precision.dtype) for each in (sliced, whole))
        assert TOLERANCES[precision].accepts(values.astype("f4"), expected.astype("f4"))


def test_a_turn_that_fails_leaves_nothing_for_the_next() -> None:
    loaded, landing = Loaded("vqae", 2, count=100), HostLanding()
    decoder = TorchDecoder.from_codec(loaded.codec, CPU)
    bad = loaded.rows.copy()
    bad[50] = 255
    bad[:, -1] &= 0b0000_0011
    with pytest.raises(CodeRangeError):
        decode_rows(decoder, FORMS[0], bad, landing=landing, step=10)
    sliced = decode_rows(decoder, FORMS[0], loaded.rows, landing=landing, step=10)
    assert len(sliced) == 100
    assert len(decode_rows(decoder, FORMS[0], loaded.rows[:0], landing=landing)) == 0


def test_a_turn_on_a_cpu_is_one_slice() -> None:
    assert isinstance(landing_for(CPU), HostLanding)
    assert slice_rows(CPU, 1000, 8192) == 8192
    assert slice_rows(torch.device("cuda"), 1000, 8192) == 1048


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("form", FORMS)
def test_labels_of_a_gpu_arrive_whole_while_the_next_turn_is_decoded(form: Representation) -> None:
    loaded, device = Loaded("raw", 3, count=1000), torch.device("cuda")
    decoder, landing = TorchDecoder.from_codec(loaded.codec, device), PinnedLanding(device)
    whole = decode_rows(decoder, form, loaded.rows)
    first = decode_rows(decoder, form, loaded.rows, landing=landing, step=64)
    second = decode_rows(decoder, form, loaded.rows[::-1].copy(), landing=landing, step=64)
    assert np.array_equal(first, whole)
    assert np.array_equal(second, whole[::-1])
