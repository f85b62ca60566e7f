"""What is asked besides views ⇄ messages, and which views a request of stored ones found."""

import numpy as np
from numpy.typing import NDArray

from labelcast.answer_subject import resolution_checksum
from labelcast.codec import Precision
from labelcast.errors import InvalidRequestError, ProtocolError, WrongSubjectError
from labelcast.identifiers import Digest, is_digest
from labelcast.label_set import MissingViews
from labelcast.representation import Form, Representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views
from labelcast.wire.columns import column_from_proto, column_to_proto
from labelcast.wire.views import views_to_proto

_FORMS = {
    Form.CODES: pb.FORM_CODES,
    Form.LOGITS: pb.FORM_LOGITS,
    Form.PROBABILITIES: pb.FORM_PROBABILITIES,
    Form.TOP_K: pb.FORM_TOP_K,
}
_MISSING = {
    MissingViews.REFUSE: pb.MISSING_REFUSE,
    MissingViews.DROP: pb.MISSING_DROP,
    MissingViews.DRAW: pb.MISSING_DRAW,
    MissingViews.DRAW_ALL: pb.MISSING_DRAW_ALL,
}
_PRECISIONS = {Precision.FP16: pb.PRECISION_FP16, Precision.FP32: pb.PRECISION_FP32}


def representation_to_proto(representation: Representation) -> pb.Representation:
    """Pack the form of the labels in a request."""
    return pb.Representation(
        form=_FORMS[representation.form],
        precision=_PRECISIONS[representation.precision]
        if representation.precision is not None
        else pb.PRECISION_UNSPECIFIED,
        temperature=representation.temperature or 0.0,
        k=representation.k or 0,
    )


def representation_from_proto(message: pb.Representation) -> Representation:
    """Read the form of the labels.

    Raises:
        InvalidRequestError: unknown or contradictory.
    """
    form = next((form for form, value in _FORMS.items() if value == message.form), None)
    if form is None:
        raise InvalidRequestError("the request names no known form of labels")
    precision = next(
        (name for name, value in _PRECISIONS.items() if value == message.precision), None
    )
    if precision is None and message.precision != pb.PRECISION_UNSPECIFIED:
        raise InvalidRequestError("the request names no known precision")
    return Representation(form, precision, message.temperature or None, message.k or None)


def missing_to_proto(missing: MissingViews) -> pb.Missing:
    """Pack what happens to views that a label set lacks."""
    return _MISSING[MissingViews(missing)]


def missing_from_proto(value: pb.Missing) -> MissingViews:
    """Read what happens to views that a label set lacks.

    Raises:
        InvalidRequestError: unknown.
    """
    known = next((missing for missing, number in _MISSING.items() if number == value), None)
    if known is None:
        raise InvalidRequestError(f"say what becomes of missing views: {', '.join(MissingViews)}")
    return known


def resolved_to_proto(
    label_set: Digest, missing: MissingViews, asked: Views, found: Views, rows: NDArray[np.int64]
) -> pb.ResolveViewsResponse:
    """Pack stored views, and which rows of the request they answer."""
    return pb.ResolveViewsResponse(
        views=views_to_proto(found),
        rows=column_to_proto(rows.astype(np.uint64)),
        subject_crc32=resolution_checksum(label_set, missing, asked, found, rows),
    )


def resolved_from_proto(
    message: pb.ResolveViewsResponse, label_set: Digest, missing: MissingViews, asked: Views
) -> tuple[Views, NDArray[np.int64]]:
    """Read stored views.

    Raises:
        ProtocolError: they belong to other samples than requested, or are out of order.
        WrongSubjectError: it answers another request, or is damaged.
    """
    count = message.views.count
    if count > len(asked):
        raise ProtocolError("the service sent more views than requested")
    try:
        ids = column_from_proto(message.views.sample_ids, count, "sample_ids")
        seeds = column_from_proto(message.views.seeds, count, "seeds")
        rows = column_from_proto(message.rows, count, "rows").astype(np.int64)
        found = Views.of(ids, seeds)
    except InvalidRequestError as error:
        raise ProtocolError(f"the service sent malformed views: {error.message}") from None
    if resolution_checksum(label_set, missing, asked, found, rows) != message.subject_crc32:
        raise WrongSubjectError("the service resolved other views than requested")
    if count and not (rows[-1] < len(asked) and (np.diff(rows) > 0).all() and rows[0] >= 0):
        raise ProtocolError("the service sent views out of order")
    if not np.array_equal(found.sample_ids, asked.sample_ids[rows]):
        raise ProtocolError("the service sent views of other samples than requested")
    drawn = missing in (MissingViews.DRAW, MissingViews.DRAW_ALL)
    if not drawn and not np.array_equal(found.seeds, asked.seeds[rows]):
        raise ProtocolError("the service sent other views than requested")
    return found, rows


def label_set_from_proto(digest: str) -> Digest:
    """Read the digest of a pinned label set.

    Raises:
        InvalidRequestError: it is a tag, or empty: a run resolves its tag once, with GetLabelSet.
    """
    if not is_digest(digest):
        raise InvalidRequestError("labels are requested by digest; resolve a tag with GetLabelSet")
    return digest
