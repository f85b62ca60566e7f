"""Seeded views: a policy and two integers give every parameter of a view. Needs numpy alone."""

from labelcast.augmentation.philox import permutation, philox
from labelcast.augmentation.policy import AugmentationPolicy, Mix
from labelcast.augmentation.records import FIXED_POINT, Records, draw_records, require_known

__all__ = [
    "FIXED_POINT",
    "AugmentationPolicy",
    "Mix",
    "Records",
    "draw_records",
    "permutation",
    "philox",
    "require_known",
]
