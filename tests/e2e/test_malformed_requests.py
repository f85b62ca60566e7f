"""Messages that no client of ours sends are refused like anything else."""

from typing import Any

import pytest

from labelcast import LabelClient, RemoteLabelSet, Representation, wire
from labelcast.errors import (
    ContractMismatchError,
    InvalidRequestError,
    LabelcastError,
    LabelSetNotFoundError,
    UnsupportedFormError,
)
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.refusal import refusal

pytestmark = pytest.mark.e2e

CODES, LOGITS = Representation.codes(), Representation.logits()
ONE = pb.Column(width=1, data=b"\1")


@pytest.mark.parametrize(
    ("codec", "representation", "error"),
    [
        ("topk", LOGITS, UnsupportedFormError),
        ("raw", Representation.top_k(41, 1.0), UnsupportedFormError),
        ("topk", Representation.probabilities(1.1), ContractMismatchError),
        ("vqae", Representation.top_k(3, 4.01), ContractMismatchError),
    ],
)
def test_the_service_refuses_what_the_client_should_have(
    client: LabelClient,
    stub: labels_pb2_grpc.LabelServiceStub,
    label_sets: dict[str, KnownLabelSet],
    codec: str,
    representation: Representation,
    error: type[LabelcastError],
) -> None:
    request = pb.GetLabelsRequest(
        label_set=client.open(codec).digest,
        representation=wire.representation_to_proto(representation),
        views=wire.views_to_proto(label_sets[codec].views[:2]),
    )
    assert isinstance(refusal(lambda: stub.GetLabels(request)), error)


def malformed_views() -> dict[str, pb.Views]:
    def views(count: int, ids: pb.Column, seeds: pb.Column) -> pb.Views:
        return pb.Views(count=count, sample_ids=ids, seeds=seeds)

    shared = pb.Column(width=0, data=bytes(8))
    return {
        "nothing": pb.Views(),
        "count 0": views(0, shared, shared),
        "count too small": views(1, pb.Column(width=1, data=b"ab"), ONE),
        "count too large": views(2, ONE, ONE),
        "width 3": views(1, pb.Column(width=3, data=b"abc"), ONE),
        "width 2**31": views(1, pb.Column(width=2**31, data=b"abc"), ONE),
        "shared value of 4 bytes": views(1, pb.Column(width=0, data=bytes(4)), ONE),
        "no seeds": pb.Views(count=1, sample_ids=ONE),
        "seed of 33 bits": views(1, ONE, pb.Column(width=8, data=(2**32).to_bytes(8, "little"))),
        "too many": views(wire.MAX_VIEWS_PER_REQUEST + 1, shared, shared),
        "very many": views(2**32 - 1, shared, shared),
    }


@pytest.mark.parametrize("malformed", malformed_views())
def test_malformed_views(
    client: LabelClient, stub: labels_pb2_grpc.LabelServiceStub, malformed: str
) -> None:
    digest, views = client.open("raw").digest, malformed_views()[malformed]
    codes = pb.Representation(form=pb.FORM_CODES)
    request: dict[str, Any] = {"label_set": digest, "representation": codes, "views": views}
    error = refusal(lambda: stub.GetLabels(pb.GetLabelsRequest(**request)))
    assert isinstance(error, InvalidRequestError)
    error = refusal(lambda: list(stub.StreamLabels(iter([pb.StreamLabelsRequest(**request)]))))
    assert isinstance(error, InvalidRequestError)


def malformed_representations() -> list[pb.Representation]:
    codes, logits, top_k = pb.FORM_CODES, pb.FORM_LOGITS, pb.FORM_TOP_K
    fp16, fp32 = pb.PRECISION_FP16, pb.PRECISION_FP32
    fields: list[dict[str, Any]] = [
        {},
        {"form": 99},
        {"form": codes, "precision": fp16},
        {"form": codes, "temperature": 1.0},
        {"form": logits},
        {"form": logits, "precision": 77},
        {"form": logits, "precision": fp16, "k": 3},
        {"form": pb.FORM_PROBABILITIES, "precision": fp16},
        {"form": top_k, "precision": fp16, "temperature": 1.0},
        {"form": top_k, "precision": fp32, "temperature": 1.0, "k": 2},
        {"form": top_k, "precision": fp16, "temperature": float("nan"), "k": 2},
        {"form": top_k, "precision": fp16, "temperature": float("inf"), "k": 2},
    ]
    return [pb.Representation(**some) for some in fields]


@pytest.mark.parametrize("representation", malformed_representations(), ids=str)
def test_malformed_representations(
    client: LabelClient,
    stub: labels_pb2_grpc.LabelServiceStub,
    label_sets: dict[str, KnownLabelSet],
    representation: pb.Representation,
) -> None:
    label_set: RemoteLabelSet = client.open("raw")
    views = wire.views_to_proto(label_sets["raw"].views[:2])
    request = pb.GetLabelsRequest(
        label_set=label_set.digest, representation=representation, views=views
    )
    error = refusal(lambda: stub.GetLabels(request))
    assert isinstance(error, InvalidRequestError)


def test_labels_are_asked_for_by_digest(
    client: LabelClient,
    stub: labels_pb2_grpc.LabelServiceStub,
    label_sets: dict[str, KnownLabelSet],
) -> None:
    codes = pb.Representation(form=pb.FORM_CODES)
    views = wire.views_to_proto(label_sets["raw"].views[:2])
    for name in ("raw", "", "sha256:xyz"):
        request: dict[str, Any] = {"label_set": name, "representation": codes, "views": views}
        for call in (
            lambda request=request: stub.GetLabels(pb.GetLabelsRequest(**request)),
            lambda request=request: list(
                stub.StreamLabels(iter([pb.StreamLabelsRequest(**request)]))
            ),
            lambda name=name: list(stub.GetBlob(pb.GetBlobRequest(label_set=name))),
        ):
            error = refusal(call)
            assert isinstance(error, InvalidRequestError)
            assert "GetLabelSet" in error.message
    digest = client.open("raw").digest
    opening = pb.StreamLabelsRequest(label_set=digest, representation=codes, views=views)
    error = refusal(lambda: list(stub.StreamLabels(iter([opening, opening]))))
    assert isinstance(error, InvalidRequestError)
    assert "first message" in error.message
    unknown = "sha256:" + "0" * 64
    error = refusal(lambda: list(stub.GetBlob(pb.GetBlobRequest(label_set=unknown))))
    assert isinstance(error, LabelSetNotFoundError)
