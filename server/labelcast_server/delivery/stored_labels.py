"""Labels that go out as they are stored: codes, and raw labels in the form that was asked for."""

from typing import Any

import numpy as np

from labelcast.codec import Codec, LabelKind, Precision, RawCodec, Rows
from labelcast.errors import LabelValueError
from labelcast.representation import Form, Representation

# Exponent bits, all of which NaN and infinity have set.
_EXPONENTS: dict[Precision, np.unsignedinteger[Any]] = {
    Precision.FP16: np.uint16(0x7C00),
    Precision.FP32: np.uint32(0x7F800000),
}


def are_stored(codec: Codec, representation: Representation) -> bool:
    """Whether rows are delivered without decoding.

    Args:
        codec: of the label set.
        representation: form of the labels, already checked against the set.
    """
    if representation.form is Form.CODES:
        return True
    form = {LabelKind.LOGITS: Form.LOGITS, LabelKind.PROBABILITIES: Form.PROBABILITIES}
    return (
        isinstance(codec, RawCodec)
        and representation.form is form[codec.header.label_kind]
        and representation.precision is codec.precision
    )


def check_stored(rows: Rows, representation: Representation) -> None:
    """Refuse what decoding would refuse.

    Args:
        rows: uint8, shape (N, stride), contiguous.
        representation: form of the labels.

    Raises:
        LabelValueError: a label is NaN or infinite.
    """
    if representation.precision is None:
        return
    exponents = _EXPONENTS[representation.precision]
    if ((rows.view(exponents.dtype) & exponents) == exponents).any():
        raise LabelValueError("raw rows hold NaN or infinity; relabel or drop those views")
