"""What tests may ask of labels that come out of a matrix product.

Which order a product's terms are added in is decided by library, processor, number of threads and
shape of the batch. So such labels agree within the tolerance of FORMAT.md, and to the last bit only
where nothing is multiplied.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast.codec import TOLERANCES, Codec, Labels, Precision, VqaeCodec


def assert_same_labels(actual: NDArray[Any], expected: Labels) -> None:
    """Fails unless `actual` are labels that a right decoder gives for `expected` in fp32."""
    assert actual.shape == expected.shape
    furthest = float(np.abs(actual - expected).max(initial=0))
    assert TOLERANCES[Precision.FP32].accepts(actual, expected), f"labels differ by {furthest:g}"


def assert_decoded(codec: Codec, actual: NDArray[Any], expected: Labels) -> None:
    """As `assert_same_labels`, to the last bit where `codec` multiplies nothing."""
    if isinstance(codec, VqaeCodec):
        assert_same_labels(actual, expected)
    else:
        np.testing.assert_array_equal(actual, expected)


def undecided(labels: NDArray[Any]) -> int:
    """Rows whose likeliest class may be another for another right decoder."""
    if labels.shape[1] < 2:
        return 0
    second, first = np.sort(labels.astype(np.float64), axis=1)[:, -2:].T
    tolerance = TOLERANCES[Precision.FP32]
    bound = 2 * (
        tolerance.absolute + tolerance.relative * np.maximum(np.abs(first), np.abs(second))
    )
    return int((first - second <= bound).sum())
