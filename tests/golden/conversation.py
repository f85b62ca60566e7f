"""Recorded calls of `labelcast.v2.LabelService`: bytes of their messages, and how each ended.

conversations/<name>.json   one conversation, recorded by `python -m tests.golden.record <name>`
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from labelcast.remote.transport import SERVICE
from labelcast.v2 import labels_pb2 as pb

CONVERSATIONS = Path(__file__).parent / "conversations"
NAMES = sorted(path.stem for path in CONVERSATIONS.glob("*.json"))
DETAILS = "grpc-status-details-bin"
METHODS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["LabelService"].methods}
STREAMS_REQUESTS = frozenset({"StreamLabels"})
STREAMS_REPLIES = frozenset({"GetBlob", "StreamLabels", "StreamPlan"})


@dataclass(frozen=True)
class Status:
    """How a call was refused.

    Attributes:
        code: name of gRPC's status.
        message: what it says.
        details: bytes of a google.rpc.Status.
    """

    code: str
    message: str
    details: bytes

    @property
    def error(self) -> tuple[str, str, str, dict[str, str]]:
        """What programs read of it: code, domain, reason and facts."""
        (detail,) = status_pb2.Status.FromString(self.details).details
        info = error_details_pb2.ErrorInfo()
        assert detail.Unpack(info)
        return self.code, info.domain, info.reason, dict(info.metadata)


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        method: of the service.
        requests: bytes of each message.
        replies: bytes of each message.
        status: None for OK.
    """

    method: str
    requests: list[bytes]
    replies: list[bytes]
    status: Status | None

    @property
    def parsed_replies(self) -> list[Any]:
        """The messages of the replies."""
        kind = _message(METHODS[self.method].output_type)
        return [kind.FromString(content) for content in self.replies]

    def begins_with(self, request: bytes) -> bool:
        """Whether its first request says the same as `request`."""
        kind = _message(METHODS[self.method].input_type)
        try:
            first = kind.FromString(self.requests[0])
        except DecodeError:  # Recorded for what services say to it.
            return request == self.requests[0]
        return bool(kind.FromString(request) == first)


@dataclass(frozen=True)
class Conversation:
    """What was said.

    Attributes:
        questions: names of what the client wanted to know, of `questions.QUESTIONS`.
        calls: every different call that it made for them, and some that a client never makes.
    """

    questions: list[str]
    calls: list[Call]


def load(name: str) -> Conversation:
    """A conversation of `NAMES`."""
    found = json.loads((CONVERSATIONS / f"{name}.json").read_text())
    calls = [
        Call(call["method"], _bytes(call["requests"]), _bytes(call["replies"]), _status(call))
        for call in found["calls"]
    ]
    return Conversation(found["questions"], calls)


def save(name: str, conversation: Conversation) -> None:
    """Keep a new conversation.

    Raises:
        FileExistsError: there is one of that name, which is never replaced.
    """

    def text(content: bytes) -> str:
        return base64.b64encode(content).decode()

    calls = [
        {
            "method": call.method,
            "requests": [text(each) for each in call.requests],
            "replies": [text(each) for each in call.replies],
            "status": call.status
            and {
                "code": call.status.code,
                "message": call.status.message,
                "details": text(call.status.details),
            },
        }
        for call in conversation.calls
    ]
    found = {"questions": conversation.questions, "calls": calls}
    with (CONVERSATIONS / f"{name}.json").open("x") as file:
        json.dump(found, file, indent=1)
        file.write("\n")


def asked(channel: Any, method: str, requests: list[bytes]) -> Call:
    """Ask a service with these very bytes, and take down what it says."""
    path, replies = f"/{SERVICE}/{method}", list[bytes]()
    try:
        if method in STREAMS_REQUESTS:
            replies.extend(channel.stream_stream(path)(iter(requests)))
        elif method in STREAMS_REPLIES:
            replies.extend(channel.unary_stream(path)(requests[0]))
        else:
            replies.append(channel.unary_unary(path)(requests[0]))
    except grpc.RpcError as error:
        call: Any = error
        metadata = dict(call.trailing_metadata())
        return Call(
            method,
            requests,
            replies,
            Status(call.code().name, call.details(), metadata[DETAILS]),
        )
    return Call(method, requests, replies, None)


def _bytes(texts: list[str]) -> list[bytes]:
    return [base64.b64decode(text) for text in texts]


def _status(call: dict[str, Any]) -> Status | None:
    found = call["status"]
    if found is None:
        return None
    return Status(found["code"], found["message"], base64.b64decode(found["details"]))


def _message(descriptor: Any) -> type[Message]:
    kind: type[Message] = getattr(pb, descriptor.name)
    return kind
