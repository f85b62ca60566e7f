"""States are kept within half a level of their block; what cannot be kept is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from labelcast.codec import Rows
from labelcast.codec.latent import StatePrecision
from labelcast.errors import LabelValueError
from labelcast_producers.encoding.tokens.hidden import HiddenEncoder

D = 7


def encoder_for(
    states: NDArray[np.float32], precision: StatePrecision = StatePrecision.INT8
) -> HiddenEncoder:
    return HiddenEncoder.calibrated(20, states, precision, block=3)


def encoded(encoder: HiddenEncoder, states: NDArray[np.float32]) -> Rows:
    count = len(states)
    positions = np.arange(count, dtype=np.uint32)
    return encoder.encode(states, sample_ids=np.full(count, 4, np.uint64), positions=positions)


@pytest.fixture
def states() -> NDArray[np.float32]:
    # One channel is always large, as in real models.
    sizes = np.array([1, 1, 30, 1, 0.5, 1, 2])
    drawn: NDArray[np.float32] = (np.random.default_rng(0).normal(size=(200, D)) * sizes).astype(
        "f4"
    )
    return drawn


@given(arrays.arrays(np.float32, (3, D), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_states_of_any_size_keep_within_half_a_level(values: NDArray[np.float32]) -> None:
    """Even where they are far from those that the channels' scales were made of."""
    encoder = encoder_for(np.ones((1, D), np.float32))
    kept = encoder.codec.latents(encoded(encoder, values))
    for start in range(0, D, 3):
        block = slice(start, start + 3)
        largest = np.abs(values[:, block]).max(axis=1, keepdims=True)
        # Half a level, of which there are 127; a scale is rounded by at most 2⁻⁸.
        bound = largest / 127 / 2 * (1 + 2**-7) + 2.0**-120
        assert (np.abs(kept[:, block] - values[:, block]) <= bound).all()


def test_a_large_channel_takes_no_levels_from_the_others(states: NDArray[np.float32]) -> None:
    kept = encoder_for(states).codec.latents(encoded(encoder_for(states), states))
    errors = np.sqrt(((kept - states) ** 2).mean(axis=0)) / states.std(axis=0)
    assert errors.max() < 0.015


def test_what_exceeds_the_calibration_is_not_clipped(states: NDArray[np.float32]) -> None:
    kept = encoder_for(states).codec.latents(encoded(encoder_for(states), 50 * states)) / 50
    errors = np.sqrt(((kept - states) ** 2).mean(axis=0)) / states.std(axis=0)
    assert errors.max() < 0.015


def test_fp32_is_exact_and_fp16_nearly(states: NDArray[np.float32]) -> None:
    exact = encoder_for(states, StatePrecision.FP32)
    np.testing.assert_array_equal(exact.codec.latents(encoded(exact, states)), states)
    half = encoder_for(states, StatePrecision.FP16)
    np.testing.assert_array_equal(
        half.codec.latents(encoded(half, states)), states.astype(np.float16)
    )


def test_rows_do_not_depend_on_their_neighbours(states: NDArray[np.float32]) -> None:
    encoder = encoder_for(states)
    together = encoded(encoder, states)
    for number in range(0, 200, 17):
        alone = encoded(encoder, states[number : number + 1])
        np.testing.assert_array_equal(alone[0], together[number])


def test_zeros_and_dead_channels_are_kept() -> None:
    encoder = encoder_for(np.zeros((4, D), np.float32))
    np.testing.assert_array_equal(
        encoder.codec.latents(encoded(encoder, np.zeros((2, D), np.float32))), 0
    )
    seen = np.ones((4, D), np.float32)
    seen[:, 1] = 0
    alive = np.ones((1, D), np.float32)
    kept = encoder_for(seen).codec.latents(encoded(encoder_for(seen), alive))
    np.testing.assert_allclose(kept, alive, atol=0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_states_that_are_not_finite_are_refused(states: NDArray[np.float32], value: float) -> None:
    encoder = encoder_for(states)
    states[3, 2] = value
    with pytest.raises(LabelValueError, match="not finite after position 3 of sample 4"):
        encoded(encoder, states)
    with pytest.raises(LabelValueError, match="need states, all of them finite"):
        encoder_for(states)


@pytest.mark.parametrize(
    ("precision", "value"), [(StatePrecision.FP16, 7e4), (StatePrecision.INT8, 3e38)]
)
def test_states_beyond_the_range_are_refused_and_kept_in_fp32(
    states: NDArray[np.float32], precision: StatePrecision, value: float
) -> None:
    encoder = encoder_for(states, precision)
    states[1, 0] = value
    with pytest.raises(LabelValueError, match=r"position 1 of sample 4 .*; keep fp32 states"):
        encoded(encoder, states)
    wide = encoder_for(states, StatePrecision.FP32)
    np.testing.assert_array_equal(wide.codec.latents(encoded(wide, states)), states)


@pytest.mark.parametrize("wrong", [np.zeros((2, D - 1), np.float32), np.zeros((2, D))])
def test_states_of_another_shape_or_type_are_refused(wrong: Any) -> None:
    with pytest.raises(LabelValueError, match=r"float32 states of shape \(2, 7\)"):
        encoded(encoder_for(np.ones((1, D), np.float32)), wrong)


def test_every_state_has_a_place(states: NDArray[np.float32]) -> None:
    with pytest.raises(LabelValueError, match="200 sample IDs and 2 positions"):
        encoder_for(states).encode(
            states, sample_ids=np.zeros(200, np.uint64), positions=np.zeros(2, np.uint32)
        )
