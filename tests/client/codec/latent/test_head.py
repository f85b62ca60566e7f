"""A head gives the logits that its values say, from any cut of its rows."""

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.codec.latent import Head, HeadDtype, HeadSpec, head_digest
from labelcast.errors import CodecFormatError

V, D = 37, 8


def stored(values: NDArray[np.float32], dtype: HeadDtype) -> NDArray[np.uint8]:
    """Values as a head stores them: uint8, shape (V, stride)."""
    if dtype is HeadDtype.BF16:
        packed = (np.ascontiguousarray(values, "<f4").view("<u4") >> 16).astype("<u2")
    else:
        packed = values.astype("<f4" if dtype is HeadDtype.FP32 else "<f2")
    return packed.view(np.uint8).reshape(len(values), -1)


def head_of(
    values: NDArray[np.float32],
    dtype: HeadDtype = HeadDtype.FP32,
    *,
    cuts: tuple[int, ...] = (),
    bias: bool = False,
    scale: float = 1.0,
    softcap: float | None = None,
) -> Head:
    """A head of some values, its rows cut into parts."""
    parts = np.split(stored(values, dtype), cuts)
    digest = head_digest(len(values), D, dtype, parts, bias=bias)
    spec = HeadSpec(digest=digest, width=D, dtype=dtype, bias=bias, scale=scale, softcap=softcap)
    return Head(spec, parts)


@pytest.fixture
def values() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(V, D + 1)).astype(np.float32)


@pytest.fixture
def states() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(5, D)).astype(np.float32)


@pytest.mark.parametrize("dtype", HeadDtype)
@pytest.mark.parametrize("cuts", [(), (10, 11)])
def test_logits_are_the_products_whatever_the_type_and_the_cuts(
    values: NDArray[np.float32],
    states: NDArray[np.float32],
    dtype: HeadDtype,
    cuts: tuple[int, ...],
) -> None:
    head = head_of(values[:, :D], dtype, cuts=cuts)
    held = dtype.widened(stored(values[:, :D], dtype))
    np.testing.assert_allclose(held, values[:, :D], rtol=2**-7)
    np.testing.assert_allclose(head.logits(states), states @ held.T, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        head.logits(states, 9, 13), states @ held[9:13].T, rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(head.weights(9, 13), held[9:13])
    ids = np.array([[0, 36], [9, 10], [11, 12], [5, 5], [10, 36]])
    wanted = np.take_along_axis(states @ held.T, ids, axis=1)
    np.testing.assert_allclose(head.logits_of(states, ids), wanted, rtol=1e-5, atol=1e-5)


def test_bias_scale_and_softcap_belong_to_the_head(
    values: NDArray[np.float32], states: NDArray[np.float32]
) -> None:
    head = head_of(values, bias=True, scale=0.25, softcap=2.0)
    wanted = 2 * np.tanh(0.25 * (states @ values[:, :D].T + values[:, D]) / 2)
    np.testing.assert_allclose(head.logits(states), wanted, rtol=1e-5, atol=1e-6)
    ids = np.arange(10).reshape(5, 2)
    np.testing.assert_allclose(
        head.logits_of(states, ids), np.take_along_axis(wanted, ids, axis=1), rtol=1e-5, atol=1e-6
    )
    bias = head.bias(3, 5)
    assert bias is not None
    np.testing.assert_array_equal(bias, values[3:5, D])


def test_a_digest_is_of_values_shape_and_type_and_not_of_the_cuts(
    values: NDArray[np.float32],
) -> None:
    whole = head_of(values[:, :D])
    assert head_of(values[:, :D], cuts=(3, 30)).spec.digest == whole.spec.digest
    whole.verify()
    changed = whole.parts[0].copy()
    changed[4, 1] ^= 1
    with pytest.raises(CodecFormatError, match="use the teacher's own"):
        Head(whole.spec, [changed]).verify()
    rows = stored(values[:, :D], HeadDtype.FP32)
    others = {
        head_digest(V, D, HeadDtype.FP32, [rows]),
        head_digest(2 * V, D // 2, HeadDtype.FP32, [rows]),
        head_digest(V, 2 * D, HeadDtype.FP16, [rows]),
        head_digest(V, D - 1, HeadDtype.FP32, [rows], bias=True),
    }
    assert len(others) == 4


def test_rows_of_another_width_and_impossible_numbers_are_refused(
    values: NDArray[np.float32],
) -> None:
    spec = head_of(values[:, :D]).spec
    with pytest.raises(CodecFormatError, match="rows of this head must be uint8"):
        Head(spec, [stored(values, HeadDtype.FP32)])
    with pytest.raises(CodecFormatError, match="this one has none"):
        Head(spec, [])
    for wrong in ({"width": 0}, {"scale": 0.0}, {"scale": float("nan")}, {"softcap": 0.0}):
        with pytest.raises(CodecFormatError):
            HeadSpec(**({"digest": spec.digest, "width": D, "dtype": HeadDtype.FP32} | wrong))  # type: ignore[arg-type]
