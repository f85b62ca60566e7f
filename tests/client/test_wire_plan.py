"""Plans ⇄ messages."""

from typing import Any

import pytest

from labelcast import wire_plan
from labelcast.errors import InvalidRequestError
from labelcast.plans import Padding, Plan, SequencePlan
from labelcast.v2 import labels_pb2 as pb
from tests.client.plans.test_sequence_plan import Lengths


def passed_on(
    plan: Plan | SequencePlan, first_row: int, num_rows: int, stored: Any = None
) -> wire_plan.AskedPlan:
    request = pb.StreamPlanRequest(
        plan=wire_plan.plan_to_proto(plan), first_row=first_row, num_rows=num_rows
    )
    return wire_plan.asked_plan_from_proto(
        pb.StreamPlanRequest.FromString(request.SerializeToString()), stored
    )


@pytest.mark.parametrize("samples", [range(2**40, 2**40 + 9), [5, 2**64 - 1, 0, 5], [7] * 6])
@pytest.mark.parametrize("seeds", [range(3), [4, 4], [2**32 - 1]])
@pytest.mark.parametrize("order_key", [None, 0, 2**64 - 1])
@pytest.mark.parametrize("padding", Padding)
def test_a_plan_arrives_as_it_was(
    samples: Any, seeds: Any, order_key: int | None, padding: Padding
) -> None:
    plan = Plan(samples, seeds, order_key=order_key, rank=1, num_ranks=3, padding=padding)
    asked = passed_on(plan, 1, len(plan) - 1) if len(plan) > 1 else passed_on(plan, 0, 1)
    assert asked[:] == plan.views(asked.first_row, len(plan))
    assert asked[1:2] == plan.views(asked.first_row + 1, asked.first_row + 2)


def test_few_epochs_are_expanded_at_once() -> None:
    """An epoch of two samples takes as long as one of a thousand."""
    asked = passed_on(Plan(range(2), range(2**20)), 0, 2**21)
    assert asked.most_rows == 128
    assert asked.num_bytes == 0


def test_lists_count_as_memory() -> None:
    asked = passed_on(Plan([3, 1, 2], [9, 1]), 0, 6)
    assert asked.num_bytes == 3 * 8 + 2 * 4
    assert wire_plan.can_be_sent(asked.plan)


@pytest.mark.parametrize("samples", [range(2**40, 2**40 + 9), [5, 2**64 - 1, 0]])
@pytest.mark.parametrize("num_ranks", [1, 2])
def test_a_plan_of_sequences_arrives_as_it_was(samples: Any, num_ranks: int) -> None:
    stored = Lengths()
    plan = SequencePlan(samples, stored, epochs=3, order_key=None, rank=0, num_ranks=num_ranks)
    asked = passed_on(plan, 1, len(plan) - 1, stored)
    assert asked[:] == plan.views(1, len(plan))
    assert asked.num_bytes >= 32 * plan.sequences_per_epoch
    assert asked.most_rows == 64 * plan.least_rows
    assert wire_plan.can_be_sent(plan)


@pytest.mark.parametrize("epochs", [0, 2**16 + 1, 2**32 - 1])
def test_impossible_epochs_of_sequences_are_refused(epochs: int) -> None:
    request = pb.StreamPlanRequest(
        plan=pb.Plan(
            sample_range=pb.Range(first=0, count=2),
            sequence_epochs=epochs,
            num_ranks=1,
            padding=pb.PADDING_DROP,
        ),
        num_rows=1,
    )
    with pytest.raises(InvalidRequestError, match="from 1 to 65536 epochs"):
        wire_plan.asked_plan_from_proto(request, Lengths())
