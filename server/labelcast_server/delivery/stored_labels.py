"""Labels that go out as they are stored, and such as never leave in another form."""

from labelcast.codec import Codec, LabelKind, RawCodec
from labelcast.codec.latent import LatentCodec
from labelcast.errors import UnsupportedFormError
from labelcast.label_set import Manifest
from labelcast.representation import Form, Representation

_FORMS = {LabelKind.LOGITS: Form.LOGITS, LabelKind.PROBABILITIES: Form.PROBABILITIES}


def check_served(codec: Codec, manifest: Manifest, representation: Representation) -> None:
    """Refuse a form that rows of a label set are not decoded to here.

    Args:
        codec: of the label set.
        manifest: of the label set.
        representation: a form of decoded labels.

    Raises:
        UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
    """
    representation.check(codec.header)
    if isinstance(codec, LatentCodec) and manifest.head is None:
        raise UnsupportedFormError(
            "rows of this label set are hidden states, and it names its teacher's head without"
            f" having it, so a service cannot send {representation.form}; read codes, and decode"
            " them where the head is, with label_set.use_head(head)"
        )


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
