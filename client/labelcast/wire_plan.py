"""Plans ⇄ messages."""

from typing import Any, TypedDict

import numpy as np
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray

from labelcast import wire
from labelcast.errors import InvalidRequestError
from labelcast.plans import (
    MAX_COUNT,
    MAX_EPOCHS,
    Padding,
    Plan,
    SequencePlan,
    StoredPositions,
)
from labelcast.v2 import labels_pb2 as pb
from labelcast.views import Views

MAX_LISTED = wire.MAX_VIEWS_PER_REQUEST
"""Samples, or seeds, that a plan may list one by one."""

_EPOCHS_AT_ONCE = 64

_PADDINGS = {
    Padding.DROP: pb.PADDING_DROP,
    Padding.REPEAT: pb.PADDING_REPEAT,
    Padding.UNEVEN: pb.PADDING_UNEVEN,
}


class _Shared(TypedDict):
    order_key: int | None
    rank: int
    num_ranks: int
    padding: Padding


class AskedPlan:
    """The rows of a plan that a stream asks for, expanded when needed.

    Args:
        plan: plan.
        first_row: row to begin with.
        num_rows: number of rows.

    Raises:
        InvalidRequestError: no rows, or some that the plan does not have.
    """

    def __init__(self, plan: Plan | SequencePlan, first_row: int, num_rows: int) -> None:
        if not 1 <= num_rows <= len(plan) - first_row:
            raise InvalidRequestError(
                f"the request asks for {num_rows} rows from row {first_row} on of a plan of"
                f" {len(plan)} rows"
            )
        self.plan = plan
        self.first_row = first_row
        self._num_rows = num_rows
        self.num_bytes = plan.num_bytes
        """Memory that the plan takes."""
        self.most_rows = _EPOCHS_AT_ONCE * plan.least_rows
        """Rows to expand at once: each epoch needs tables, even an epoch of two samples."""

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, rows: slice) -> Views:
        start, stop, _ = rows.indices(self._num_rows)
        return self.plan.views(self.first_row + start, self.first_row + stop)


def can_be_sent(plan: Plan | SequencePlan) -> bool:
    """Whether a plan's lists are short enough for a request."""
    order = plan.order if isinstance(plan, SequencePlan) else plan
    return all(
        isinstance(values, range) or len(values) <= MAX_LISTED
        for values in (order.samples, order.seeds)
    )


def plan_to_proto(plan: Plan | SequencePlan) -> pb.Plan:
    """Pack a plan that can be sent."""
    order = plan.order if isinstance(plan, SequencePlan) else plan
    message = pb.Plan(
        order_key=order.order_key,
        rank=order.rank,
        num_ranks=order.num_ranks,
        padding=_PADDINGS[order.padding],
    )
    _set_values(message, "sample", order.samples)
    if isinstance(plan, SequencePlan):
        message.sequence_epochs = order.num_epochs
    else:
        _set_values(message, "seed", order.seeds)
    return message


def asked_plan_from_proto(request: pb.StreamPlanRequest, stored: StoredPositions) -> AskedPlan:
    """Read what a stream asks for; takes time with the sequences of a plan.

    Args:
        request: the request.
        stored: which labels sequences have.

    Raises:
        ViewNotFoundError: a plan of sequences has one without labels.
        InvalidRequestError: an impossible plan, rows that it does not have, or a field of a later
            version, without which the plan would mean something else.
    """
    _require_known(request)
    message = request.plan
    padding = next((rule for rule, number in _PADDINGS.items() if number == message.padding), None)
    if padding is None:
        raise InvalidRequestError(f"say a plan's padding rule: {', '.join(Padding)}")
    samples = _read_values(message, "sample", MAX_COUNT)
    shared: _Shared = {
        "order_key": message.order_key if message.HasField("order_key") else None,
        "rank": message.rank,
        "num_ranks": message.num_ranks,
        "padding": padding,
    }
    plan: Plan | SequencePlan
    if message.WhichOneof("seeds") == "sequence_epochs":
        plan = SequencePlan(samples, stored, epochs=message.sequence_epochs, **shared)
    else:
        plan = Plan(samples, _read_values(message, "seed", MAX_EPOCHS), **shared)
    return AskedPlan(plan, request.first_row, request.num_rows)


def _set_values(message: pb.Plan, what: str, values: range | NDArray[Any]) -> None:
    if isinstance(values, range):
        given = pb.Range(first=values.start, count=len(values))
        getattr(message, f"{what}_range").CopyFrom(given)
        return
    listed = pb.List(count=len(values), values=wire.column_to_proto(values))
    getattr(message, f"{what}_list").CopyFrom(listed)


def _read_values(message: pb.Plan, what: str, most: int) -> range | NDArray[np.uint64]:
    given = message.WhichOneof(f"{what}s")
    if given is None:
        raise InvalidRequestError(f"a plan needs its {what}s, as a range or a list")
    numbers = getattr(message, given)
    if isinstance(numbers, pb.Range):
        if not 1 <= numbers.count <= most:
            raise InvalidRequestError(f"a plan has from 1 to {most} {what}s, not {numbers.count}")
        return range(numbers.first, numbers.first + numbers.count)
    if not 1 <= numbers.count <= MAX_LISTED:
        raise InvalidRequestError(
            f"a plan lists from 1 to {MAX_LISTED} {what}s, not {numbers.count}"
        )
    return wire.column_from_proto(numbers.values, numbers.count, f"{what}_list")


def _require_known(message: Message) -> None:
    """Refuse what is said in words of a later version, which would be skipped otherwise."""
    if len(UnknownFieldSet(message)):
        raise InvalidRequestError(
            f"the {message.DESCRIPTOR.name} has fields that this service does not know; compare"
            " versions, or stream lists of views"
        )
    for field, value in message.ListFields():
        if field.message_type is not None:
            _require_known(value)
