"""Plans: which views a run asks for and in which order, said in a few bytes. Needs only numpy.

permutation  the order of one epoch: any position of it, without the others
plan         samples, seeds, order and share of a rank, over all epochs of a run
batches      a plan, or a part of it, cut into batches
"""

from labelcast.plans.batches import PlanBatches
from labelcast.plans.permutation import MAX_COUNT, FeistelPermutation
from labelcast.plans.plan import MAX_EPOCHS, Padding, Plan, rows_of_rank

__all__ = [
    "MAX_COUNT",
    "MAX_EPOCHS",
    "FeistelPermutation",
    "Padding",
    "Plan",
    "PlanBatches",
    "rows_of_rank",
]
