"""Requests and replies that both clients share; opens nothing itself."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast import wire
from labelcast.answer_subject import LabelSubject
from labelcast.codec import CodecHeader, Rows
from labelcast.errors import InvalidRequestError, ProtocolError, WrongSubjectError
from labelcast.identifiers import check_reference
from labelcast.label_set import (
    BlobRef,
    Expectation,
    Manifest,
    MissingViews,
    check_digest,
)
from labelcast.opening.delivered import DeliveredLabels
from labelcast.opening.drivers import run
from labelcast.opening.parts.label_set_parts import LabelSetFacts, check_opened
from labelcast.opening.parts_from_blobs import open_report
from labelcast.plans import PlanBatches
from labelcast.remote.streams.listed import StreamExchange
from labelcast.remote.streams.planned import PlanExchange
from labelcast.remote.streams.proven_rows import proven_rows
from labelcast.representation import Form, Representation, check_representation
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views, check_batches, check_views
from labelcast.wire_plan import can_be_sent


class BlobParts:
    """Requests the pieces of a blob, and checks that they come in order and within its size.

    Args:
        label_set: a label set that has the blob.
        ref: blob to fetch.
    """

    def __init__(self, label_set: LabelSetFacts, ref: BlobRef) -> None:
        check_opened(label_set)
        self._label_set = label_set.digest
        self._ref = ref
        self._received = 0

    @property
    def done(self) -> bool:
        """Whether every byte has arrived."""
        return self._received == self._ref.size

    @property
    def answered(self) -> int:
        """Bytes that have arrived."""
        return self._received

    @property
    def owes_reply(self) -> bool:
        """Whether the service must send something: bytes, or the end of the transfer."""
        return True

    def request(self) -> pb.GetBlobRequest:
        """Request for the missing rest."""
        return pb.GetBlobRequest(
            label_set=self._label_set, blob=self._ref.digest, offset=self._received
        )

    def accept(self, content: bytes) -> bytes:
        """Check the next piece and return its content.

        Raises:
            ProtocolError: the piece is empty, out of order, or exceeds the blob's size.
        """
        part = wire.parse(pb.GetBlobResponse, content, ProtocolError)
        end = part.offset + len(part.data)
        if part.offset != self._received or end > self._ref.size:
            raise ProtocolError(f"the service sent blob {self._ref.digest} out of order")
        self._received = end
        return part.data

    def finish(self) -> None:
        """Check that the blob is complete when the service has sent its last piece.

        Raises:
            ProtocolError: bytes are missing.
        """
        if not self.done:
            raise ProtocolError(f"the service sent only a part of blob {self._ref.digest}")


def label_set_request(reference: str) -> pb.GetLabelSetRequest:
    """Request for a label set.

    Raises:
        InvalidRequestError: the reference is no text.
    """
    check_reference(reference)
    return pb.GetLabelSetRequest(reference=reference)


def read_label_set(
    content: bytes, reference: str, expect: Expectation | None
) -> tuple[Manifest, dict[str, Any]]:
    """Verify a reply from end to end, and the contract if something is expected.

    Returns:
        The manifest, and the report on the codec; {} if there is none.
    """
    reply = wire.parse(pb.GetLabelSetResponse, content, ProtocolError)
    other = reference.startswith("sha256:") and reference != reply.digest
    if other or reply.reference != reference:
        raise WrongSubjectError(
            f"the service answered with {reply.reference or reply.digest} when asked for"
            f" {reference}"
        )
    check_digest(reply.manifest, reply.digest, "the manifest")
    manifest = Manifest.from_bytes(reply.manifest)

    def report_in_reply(ref: BlobRef) -> bytes:
        check_digest(reply.report, ref.digest, "the fit report")
        return bytes(reply.report)

    report = run(open_report(manifest), report_in_reply)
    if expect is not None:
        manifest.require(expect)
    return manifest, report


def check_form(label_set: LabelSetFacts, representation: Representation) -> None:
    """Refuse a form here that the service would refuse.

    Raises:
        InvalidRequestError: no label set, such as its tag, or no representation.
        UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
    """
    check_opened(label_set)
    check_representation(representation)
    if representation.form is not Form.CODES:
        contract = label_set.contract
        representation.check(
            CodecHeader(contract.num_classes, contract.label_kind, contract.temperatures)
        )


def check_asked(label_set: LabelSetFacts, views: Views, representation: Representation) -> None:
    """Refuse what is no request for one batch.

    Raises:
        InvalidRequestError: no views.
        As `check_form`.
    """
    check_form(label_set, representation)
    check_views(views)
    if not len(views):
        raise InvalidRequestError("ask for at least one view")


def labels_request(
    label_set: LabelSetFacts, views: Views, representation: Representation
) -> pb.GetLabelsRequest:
    """Request for one batch.

    Raises:
        As `check_asked`.
    """
    check_asked(label_set, views, representation)
    listed, spans = wire.named_views(views, spans=wire.knows_spans(label_set.manifest))
    return pb.GetLabelsRequest(
        label_set=label_set.digest,
        representation=wire.representation_to_proto(representation),
        views=listed,
        spans=spans,
    )


def read_labels(
    content: bytes, label_set: LabelSetFacts, views: Views, representation: Representation
) -> DeliveredLabels:
    """Verify the reply to `labels_request`, as a stream's replies are."""
    parts = wire.parse(pb.GetLabelsResponse, content, ProtocolError).parts
    subject = LabelSubject(label_set.digest, representation)
    num_classes = label_set.contract.num_classes
    stride = representation.row_stride(num_classes, label_set.code_stride)
    rows, first = list[Rows](), 0
    for part in parts:
        asked = views[first : first + part.count]
        rows.append(proven_rows(part, subject, asked, first_row=first, stride=stride))
        first += part.count
    if first != len(views):
        raise ProtocolError(f"the service sent {first} of {len(views)} labels")
    whole = rows[0] if len(rows) == 1 else np.concatenate(rows)
    whole.flags.writeable = False
    return DeliveredLabels(views, whole, representation, num_classes)


def label_exchange(
    label_set: LabelSetFacts,
    batches: Iterable[Views],
    representation: Representation,
    *,
    rows_in_flight: int | None,
) -> StreamExchange | PlanExchange:
    """Make an exchange for labels of a set: of a plan whole, if its lists fit a request.

    Raises:
        UnsupportedFormError, ContractMismatchError: the labels do not come in that form.
        InvalidRequestError: a window that would admit nothing.
    """
    check_form(label_set, representation)
    check_batches(batches)
    contract = label_set.contract
    row_stride = representation.row_stride(contract.num_classes, label_set.code_stride)
    if isinstance(batches, PlanBatches) and can_be_sent(batches.plan):
        return PlanExchange(
            label_set=label_set.digest,
            representation=representation,
            row_stride=row_stride,
            num_classes=contract.num_classes,
            batches=batches,
        )
    return StreamExchange(
        label_set=label_set.digest,
        representation=representation,
        row_stride=row_stride,
        num_classes=contract.num_classes,
        batches=batches,
        spans=wire.knows_spans(label_set.manifest),
        rows_in_flight=rows_in_flight,
    )


def resolve_request(
    label_set: LabelSetFacts, views: Views, missing: MissingViews
) -> pb.ResolveViewsRequest:
    """Request for stored views.

    Raises:
        InvalidRequestError: no label set, such as its tag, or no views.
    """
    check_opened(label_set)
    check_views(views)
    return pb.ResolveViewsRequest(
        label_set=label_set.digest,
        views=wire.views_to_proto(views),
        missing=wire.missing_to_proto(missing),
    )


def read_resolved(
    content: bytes, label_set: LabelSetFacts, views: Views, missing: MissingViews
) -> tuple[Views, NDArray[np.int64]]:
    """Verify the reply to `resolve_request`."""
    reply = wire.parse(pb.ResolveViewsResponse, content, ProtocolError)
    return wire.resolved_from_proto(reply, label_set.digest, missing, views)
