"""Plans ⇄ messages."""

from typing import Any

import pytest

from labelcast import wire_plan
from labelcast.plans import Padding, Plan
from labelcast.v2 import labels_pb2 as pb


def passed_on(plan: Plan, first_row: int, num_rows: int) -> wire_plan.AskedPlan:
    request = pb.StreamPlanRequest(
        plan=wire_plan.plan_to_proto(plan), first_row=first_row, num_rows=num_rows
    )
    return wire_plan.asked_plan_from_proto(
        pb.StreamPlanRequest.FromString(request.SerializeToString())
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
