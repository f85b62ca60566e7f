"""Every kind of augmentation policy, and how its JSON is told apart."""

from collections.abc import Mapping
from typing import Any

from labelcast.augmentation.recorded.recorded_views import RECORDED_NAME, RecordedPolicy
from labelcast.augmentation.seeded.policy import AugmentationPolicy, Mix
from labelcast.augmentation.unrendered import ForeignPolicy, PositionPolicy
from labelcast.errors import ManifestError

ViewPolicy = AugmentationPolicy | RecordedPolicy | PositionPolicy | ForeignPolicy


def shows_partners(policy: ViewPolicy | None) -> bool:
    """Whether a view may show another sample's image beside its own."""
    return isinstance(policy, AugmentationPolicy | RecordedPolicy) and policy.mix is not Mix.NONE


def policy_from_json(value: Any) -> ViewPolicy:
    """Read a policy of any kind, strictly.

    Raises:
        ManifestError: an unknown kind, or fields that are missing, unknown or out of range.
    """
    if not isinstance(value, Mapping):
        raise ManifestError("augmentation policy: must be an object")
    if value.get("policy") == RECORDED_NAME:
        return RecordedPolicy.from_json(value)
    if value.get("policy") == PositionPolicy.name:
        return PositionPolicy.from_json(value)
    if value.get("policy") == ForeignPolicy.name:
        return ForeignPolicy.from_json(value)
    return AugmentationPolicy.from_json(value)
