"""Everything that may go wrong with the stream of a plan."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from labelcast.errors import (
    ChecksumMismatchError,
    InvalidRequestError,
    LabelcastError,
    ProtocolError,
    WrongSubjectError,
)
from labelcast.v2 import labels_pb2 as pb
from tests.e2e import tampering as do
from tests.e2e.hostile_peer import Tamper


@dataclass(frozen=True, eq=False)
class Case:
    """One fault.

    Attributes:
        name: of the case.
        direction: whose messages are tampered with.
        tamper: what becomes of them.
        error: what the client raises if it happens in every stream.
        some_rows: whether right rows come before the fault shows.
        resumes: whether a stream survives it; what the service holds to be nonsense ends it.
    """

    name: str
    direction: str
    tamper: Tamper
    error: type[LabelcastError]
    some_rows: bool = False
    resumes: bool = True


def cases() -> Iterator[Case]:
    """All faults."""
    yield from _requests()
    yield from _replies()


def _requests() -> Iterator[Case]:
    def request(
        name: str,
        change: Callable[[pb.StreamPlanRequest], None],
        error: type[LabelcastError] = WrongSubjectError,
        **more: bool,
    ) -> Case:
        return Case(name, "requests", do.rewrite(pb.StreamPlanRequest, change), error, **more)

    yield request("another order", _other_order)
    yield request("no order", lambda it: it.plan.ClearField("order_key"))
    yield request("another rank", lambda it: _set_rank(it.plan))
    yield request("other seeds", lambda it: _turn(it.plan.seed_list))
    yield request("other samples", lambda it: _turn(it.plan.sample_list))
    yield request(
        "a row of samples less",
        lambda it: _shorten(it.plan.sample_list),
        InvalidRequestError,
        resumes=False,
    )
    yield request("a row further", _further, ProtocolError)
    yield request("a row less", _less, ProtocolError, some_rows=True)
    yield Case("request cut", "requests", do.truncate, InvalidRequestError, resumes=False)


def _replies() -> Iterator[Case]:
    def reply(name: str, tamper: Tamper, error: type[LabelcastError]) -> Case:
        return Case(name, "replies", tamper, error)

    def answers(change: Callable[[pb.StreamLabelsResponse], None]) -> Tamper:
        return do.rewrite(pb.StreamLabelsResponse, change)

    yield reply("reply lost", do.drop, ProtocolError)
    yield Case("reply twice", "replies", do.duplicate, ProtocolError, some_rows=True)
    yield reply("reply overtaken", do.swap, ProtocolError)
    yield reply("reply cut", do.truncate, ProtocolError)
    yield reply("replies end", do.end_before, ProtocolError)
    yield reply("reply renumbered", answers(do.renumber), ProtocolError)
    yield reply("reply miscounted", answers(do.miscount), ProtocolError)
    yield reply("reply counts too many", answers(_count_too_many), ProtocolError)
    yield reply("reply empty", answers(do.empty), ProtocolError)
    yield reply("payload moved", answers(do.move_payload), ChecksumMismatchError)
    yield reply("payload flipped", answers(do.flip), ChecksumMismatchError)
    yield reply("reply without its last row", answers(do.cut_last_row), WrongSubjectError)
    yield reply("reply without its first row", answers(do.cut_first_row), WrongSubjectError)
    yield reply("replies change places", do.swap_unnoticed, WrongSubjectError)


def _other_order(request: pb.StreamPlanRequest) -> None:
    request.plan.order_key += 1


def _set_rank(plan: pb.Plan) -> None:
    plan.rank = 1 - plan.rank


def _turn(listed: pb.List) -> None:
    width = listed.values.width
    listed.values.data = listed.values.data[width:] + listed.values.data[:width]


def _shorten(listed: pb.List) -> None:
    listed.values.data = listed.values.data[: -2 * listed.values.width]
    listed.count -= 2


def _further(request: pb.StreamPlanRequest) -> None:
    request.first_row += 1
    request.num_rows -= 1


def _less(request: pb.StreamPlanRequest) -> None:
    request.num_rows -= 1


def _count_too_many(reply: pb.StreamLabelsResponse) -> None:
    reply.rows.count = 2**32 - 1
