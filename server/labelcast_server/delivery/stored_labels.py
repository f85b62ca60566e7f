"""Labels that go out as they are stored: codes, and raw labels in the form that was asked for."""

from labelcast.codec import Codec, LabelKind, RawCodec
from labelcast.representation import Form, Representation

_FORMS = {LabelKind.LOGITS: Form.LOGITS, LabelKind.PROBABILITIES: Form.PROBABILITIES}


def are_stored(codec: Codec, representation: Representation) -> bool:
    """Whether rows are delivered without decoding.

    Args:
        codec: of the label set.
        representation: form of the labels, already checked against the set.
    """
    if representation.form is Form.CODES:
        return True
    return (
        isinstance(codec, RawCodec)
        and representation.form is _FORMS[codec.header.label_kind]
        and representation.precision is codec.precision
    )
