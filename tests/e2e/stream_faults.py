"""Everything that may go wrong with one message of a label stream, and what each end says to it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from labelcast import Representation, Views, wire
from labelcast.errors import (
    ChecksumMismatchError,
    InvalidRequestError,
    LabelcastError,
    LostRequestError,
    ProtocolError,
    WrongSubjectError,
)
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from tests.e2e import tampering as do
from tests.e2e.hostile_peer import Tamper
from tests.e2e.spelling_sets import REQUEST_ROWS, SpellingSet, other_form


@dataclass(frozen=True, eq=False)
class Told:
    """What a liar knows.

    Attributes:
        stub: the real service.
        label_set: which one the client reads.
        other: a label set of the same views.
        representation: the form that it reads.
        views: those that it reads, in order.
    """

    stub: labels_pb2_grpc.LabelServiceStub
    label_set: SpellingSet
    other: SpellingSet
    representation: Representation
    views: Views

    def answer_of_another_call(
        self,
        *,
        label_set: SpellingSet | None = None,
        representation: Representation | None = None,
        moved: int = 0,
    ) -> Callable[[bytes], bytes]:
        """Gives, for a reply, what the service says under the same number in a call for others."""

        def answer(reply: bytes) -> bytes:
            given = pb.StreamLabelsResponse.FromString(reply).rows
            at = given.first_row + moved
            request = pb.GetLabelsRequest(
                label_set=(label_set or self.label_set).digest,
                representation=wire.representation_to_proto(representation or self.representation),
                views=wire.views_to_proto(self.views[at : at + given.count]),
            )
            (honest,) = self.stub.GetLabels(request).parts
            honest.first_row = given.first_row
            content: bytes = pb.StreamLabelsResponse(rows=honest).SerializeToString()
            return content

        return answer


@dataclass(frozen=True, eq=False)
class Case:
    """One fault.

    Attributes:
        name: of the case.
        direction: whose messages are tampered with.
        tamper: made from what the liar knows.
        error: what the client raises if it happens in every stream.
        once_at: number of the message, where it happens once.
        always_at: where it happens in every stream: as early as can be.
        right_rows: of the message that is tampered with, that are delivered since they are right;
            None for all.
        resumes: whether a stream survives it; what the service holds to be nonsense ends it.
        lie: every number and checksum of the payload fits.
    """

    name: str
    direction: str
    tamper: Callable[[Told], Tamper]
    error: type[LabelcastError]
    once_at: int
    always_at: int
    right_rows: int | None = 0
    resumes: bool = True
    lie: bool = False

    @property
    def ended_by_service(self) -> bool:
        """Whether the service ends the call: refuses what it got, or has answered all of it."""
        return self.error in (LostRequestError, InvalidRequestError) or self.name == "requests end"


def _opening(
    name: str, tamper: Callable[[Told], Tamper], error: type[LabelcastError], **more: bool
) -> Case:
    return Case(name, "requests", tamper, error, 0, 0, **more)


def _request(
    name: str,
    tamper: Tamper,
    error: type[LabelcastError],
    *,
    right_rows: int = 0,
    resumes: bool = True,
    lie: bool = False,
) -> Case:
    return Case(name, "requests", lambda _: tamper, error, 3, 1, right_rows, resumes, lie)


def _reply(
    name: str,
    tamper: Callable[[Told], Tamper],
    error: type[LabelcastError],
    *,
    right_rows: int | None = 0,
    lie: bool = False,
) -> Case:
    return Case(name, "replies", tamper, error, 2, 0, right_rows, lie=lie)


def cases() -> Iterator[Case]:
    """All faults."""
    yield from _openings()
    yield from _requests()
    yield from _replies()
    yield from _lying_replies()


def _openings() -> Iterator[Case]:
    def other_set(told: Told) -> Tamper:
        def change(request: pb.StreamLabelsRequest) -> None:
            request.label_set = told.other.digest

        return do.rewrite(pb.StreamLabelsRequest, change)

    def another_form(told: Told) -> Tamper:
        form = wire.representation_to_proto(other_form(told.representation))
        return do.rewrite(
            pb.StreamLabelsRequest, lambda request: request.representation.CopyFrom(form)
        )

    yield _opening("opening lost", lambda _: do.drop, LostRequestError)
    yield _opening("opening twice", lambda _: do.duplicate, InvalidRequestError, resumes=False)
    yield _opening("opening overtaken", lambda _: do.swap, LostRequestError)
    yield _opening("opening cut", lambda _: do.truncate, InvalidRequestError, resumes=False)
    yield _opening("opening names another set", other_set, WrongSubjectError, lie=True)
    yield _opening("opening names another form", another_form, WrongSubjectError, lie=True)
    yield _opening("opening renumbered", lambda _: _NUMBERED, LostRequestError)


def _requests() -> Iterator[Case]:
    yield _request("request lost", do.drop, LostRequestError)
    yield _request("request twice", do.duplicate, LostRequestError, right_rows=REQUEST_ROWS)
    yield _request("request overtaken", do.swap, LostRequestError)
    yield _request("request cut", do.truncate, InvalidRequestError, resumes=False)
    yield _request("requests end", do.end_before, ProtocolError)
    yield _request("request renumbered", _NUMBERED, LostRequestError)
    cut = _asks(do.without_last)
    yield _request("request one row short", cut, LostRequestError, right_rows=REQUEST_ROWS - 1)
    yield _request("request for other IDs", _asks(do.other_ids), WrongSubjectError, lie=True)
    yield _request("request for other seeds", _asks(do.other_seeds), WrongSubjectError, lie=True)
    yield _request("request in another order", _asks(do.rotated), WrongSubjectError, lie=True)
    yield _request("request without a row", _asks(do.without_first), WrongSubjectError, lie=True)
    yield _request("request lost unnoticed", do.drop_unnoticed, WrongSubjectError, lie=True)
    yield _request("requests shifted by a row", do.shift_unnoticed, WrongSubjectError, lie=True)


def _replies() -> Iterator[Case]:
    yield _reply("reply lost", lambda _: do.drop, ProtocolError)
    yield _reply("reply twice", lambda _: do.duplicate, ProtocolError, right_rows=None)
    yield _reply("reply overtaken", lambda _: do.swap, ProtocolError)
    yield _reply("reply cut", lambda _: do.truncate, ProtocolError)
    yield _reply("replies end", lambda _: do.end_before, ProtocolError)
    for name, change in (("renumbered", do.renumber), ("miscounted", do.miscount)):
        yield _reply(f"reply {name}", _always(_answers(change)), ProtocolError)
    yield _reply("reply empty", lambda _: _answers(do.empty), ProtocolError)
    for name, change in (("moved by a row", do.move_payload), ("flipped", do.flip)):
        yield _reply(f"payload {name}", _always(_answers(change)), ChecksumMismatchError)


def _lying_replies() -> Iterator[Case]:
    error = WrongSubjectError
    for name, change in (("last", do.cut_last_row), ("first", do.cut_first_row)):
        yield _reply(f"reply without its {name} row", _always(_answers(change)), error, lie=True)
    yield _reply("replies change places", lambda _: do.swap_unnoticed, error, lie=True)
    yield _reply(
        "answer for views one row further",
        lambda told: do.replaced(told.answer_of_another_call(moved=1)),
        error,
        lie=True,
    )
    yield _reply(
        "answer of another set",
        lambda told: do.replaced(told.answer_of_another_call(label_set=told.other)),
        error,
        lie=True,
    )
    yield _reply(
        "answer in another form",
        lambda told: do.replaced(
            told.answer_of_another_call(representation=other_form(told.representation))
        ),
        error,
        lie=True,
    )


def _asks(change: Callable[[Views], Views]) -> Tamper:
    return do.rewrite(pb.StreamLabelsRequest, do.asking(change))


def _answers(change: Callable[[pb.StreamLabelsResponse], None]) -> Tamper:
    return do.rewrite(pb.StreamLabelsResponse, change)


def _always(tamper: Tamper) -> Callable[[Told], Tamper]:
    return lambda _: tamper


def _number(request: pb.StreamLabelsRequest) -> None:
    request.first_row += 1


_NUMBERED = do.rewrite(pb.StreamLabelsRequest, _number)
