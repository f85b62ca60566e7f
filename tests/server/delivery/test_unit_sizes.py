"""What is decoded at once and what a message carries are bounded apart from each other."""

import pytest

from labelcast.codec import Precision
from labelcast.representation import Representation
from labelcast_server.delivery.unit_sizes import UnitSizes

MESSAGE_BYTES = 2**18
DENSE = Representation.logits(Precision.FP16)


@pytest.mark.parametrize(
    ("form", "classes", "message_rows", "unit_rows"),
    [
        (Representation.codes(), 1000, 32_768, 32_768),
        (DENSE, 1000, 262, 2096),
        (DENSE, 50_257, 5, 40),
        (DENSE, 2**20, 1, 2),
        # Small on the wire, whole while it is decoded.
        (Representation.top_k(5, 1), 50_257, 41, 41),
        (Representation.top_k(5, 1), 1000, 2097, 2097),
    ],
)
def test_sizes(form: Representation, classes: int, message_rows: int, unit_rows: int) -> None:
    sizes = UnitSizes.of(form, num_classes=classes, code_stride=8, message_bytes=MESSAGE_BYTES)
    assert (sizes.message_rows, sizes.unit_rows) == (message_rows, unit_rows)
