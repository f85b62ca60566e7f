"""Views drawn from a policy and two integers, or recorded by other projects. Needs only numpy."""

from labelcast.augmentation.kinds import ViewPolicy, policy_from_json, shows_partners
from labelcast.augmentation.recorded.packing import MIX_STRIDE, MixTable, RecordLayout
from labelcast.augmentation.recorded.recorded_views import (
    NO_OPERATION,
    OPERATIONS,
    RecordedPolicy,
    RecordedViews,
)
from labelcast.augmentation.seeded.draw import FIXED_POINT, Records, draw_records, require_known
from labelcast.augmentation.seeded.philox import philox
from labelcast.augmentation.seeded.policy import AugmentationPolicy, Mix
from labelcast.augmentation.unrendered import ForeignPolicy, PositionPolicy, UnrenderedPolicy

__all__ = [
    "FIXED_POINT",
    "MIX_STRIDE",
    "NO_OPERATION",
    "OPERATIONS",
    "AugmentationPolicy",
    "ForeignPolicy",
    "Mix",
    "MixTable",
    "PositionPolicy",
    "RecordLayout",
    "RecordedPolicy",
    "RecordedViews",
    "Records",
    "UnrenderedPolicy",
    "ViewPolicy",
    "draw_records",
    "philox",
    "policy_from_json",
    "require_known",
    "shows_partners",
]
