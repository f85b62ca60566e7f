"""Record a new conversation, beside those that there are; README.md there says when.

    python -m tests.golden.record NAME

It is of the questions that no conversation has yet. Nothing calls this.
"""

import sys
import tempfile
from pathlib import Path

import grpc

from labelcast import LabelClient, Representation, Views, wire
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.v2 import labels_pb2 as pb
from tests.e2e import tampering as do
from tests.e2e.hostile_peer import Fault, hostile_peer
from tests.e2e.running_service import running_service
from tests.golden.conversation import METHODS, NAMES, Conversation, asked, load, save
from tests.golden.expected import LATER, copy_data_directory, expected, label_set_directory
from tests.golden.questions import QUESTIONS


def recorded(address: str) -> Conversation:
    """Every different call that today's client makes, and some that it would not make."""
    known = [load(name) for name in NAMES]
    told = {question for each in known for question in each.questions}
    questions = [question for question in QUESTIONS if question.name not in told]
    requests: dict[tuple[str, tuple[bytes, ...]], None] = {}
    for method in METHODS:
        # It never comes to the fault: the peer takes down what is said.
        with hostile_peer(address, Fault(method, "replies", 10**9, do.drop)) as peer:
            for question in questions:
                with LabelClient(peer.address) as client:
                    question.ask(client)
            requests.update(((method, tuple(said)), None) for said in peer.passed["requests"])
    said_before = {(call.method, tuple(call.requests)) for each in known for call in each.calls}
    requests.update((call, None) for call in _wrong_calls() if call not in said_before)
    with grpc.insecure_channel(address) as channel:
        calls = [asked(channel, method, list(said)) for method, said in requests]
    return Conversation([question.name for question in questions], calls)


def _wrong_calls() -> list[tuple[str, tuple[bytes, ...]]]:
    known = expected("raw")
    opening = pb.StreamLabelsRequest(
        label_set=known.digest,
        representation=wire.representation_to_proto(Representation.codes()),
        first_row=3,
    )
    views = wire.views_to_proto(Views(known.views.sample_ids[:2], known.views.seeds[:2]))
    not_the_next = pb.StreamLabelsRequest(first_row=5, views=views)
    empty = pb.Spans(
        count=2,
        sample_ids=views.sample_ids,
        firsts=pb.Column(width=1, data=bytes(2)),
        lengths=pb.Column(width=1, data=bytes([1, 0])),
    )
    no_span = pb.GetLabelsRequest(
        label_set=expected("sequences").digest, representation=opening.representation, spans=empty
    )
    return [
        ("GetLabels", (no_span.SerializeToString(),)),
        ("StreamLabels", (opening.SerializeToString(), not_the_next.SerializeToString())),
        ("GetLabels", (b"\xff",)),
    ]


if __name__ == "__main__":
    (name,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as temporary:
        copy_data_directory(Path(temporary) / "data")
        with running_service(Path(temporary)) as service:
            for late in LATER:
                service.push(LabelSetDirectory(label_set_directory(late)), f"golden:{late}")
            save(name, recorded(service.grpc))
