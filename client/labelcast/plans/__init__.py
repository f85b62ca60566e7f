"""Plans: which views a run asks for and in which order, said in a few bytes. Needs only numpy.

permutation  the order of one epoch: any position of it, without the others
plan         samples, seeds, order and share of a rank, over all epochs of a run
sequences    the same of whole sequences, in `sequence_plan`
batches      a plan, or a part of it, cut into batches
"""

from labelcast.plans.batches import PlanBatches
from labelcast.plans.permutation import MAX_COUNT, FeistelPermutation
from labelcast.plans.plan import MAX_EPOCHS, Padding, Plan, rows_of_rank
from labelcast.plans.sequence_plan import (
    MAX_DEALT_SEQUENCES,
    MAX_SEQUENCE_EPOCHS,
    MAX_SEQUENCES,
    SequencePlan,
    StoredPositions,
)

__all__ = [
    "MAX_COUNT",
    "MAX_DEALT_SEQUENCES",
    "MAX_EPOCHS",
    "MAX_SEQUENCES",
    "MAX_SEQUENCE_EPOCHS",
    "FeistelPermutation",
    "Padding",
    "Plan",
    "PlanBatches",
    "SequencePlan",
    "StoredPositions",
    "rows_of_rank",
]
