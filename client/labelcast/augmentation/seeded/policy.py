"""The recipe of the views: what is drawn for each, and from what ranges."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self

from labelcast.errors import ManifestError

POLICY_NAME = "seeded/1"
# Written only if one of its fields is used: the digests of older policies stay the same.
EXTENDED_NAME = "seeded/2"
MAX_PATCH_GRID = 4
_EXTENSION = {"patch_grid": 1, "mix_batch": 0}


class Mix(StrEnum):
    """How a view is mixed with its partner."""

    NONE = "none"
    CUTMIX = "cutmix"
    MIXUP = "mixup"  # recorded views only: its Beta law needs powers


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationPolicy:
    """Shuffle patches, rotate and crop, then flip, then mix.

    Attributes:
        view_height: pixels of every view.
        view_width: pixels of every view.
        rotation_degrees: angles are uniform in ± this.
        crop_scale: least and greatest share of the image's area that a crop covers; at least 1e-4.
        crop_ratio: greatest ratio of a crop's longer to its shorter side, at least 1; ratios are
            drawn from 1 to this, landscape or portrait with equal chance.
        flip_probability: chance of a horizontal flip.
        mix: CutMix (Yun et al., arXiv 1905.04899) with λ uniform in [0, 1), or none.
        mix_probability: chance that a view is mixed.
        key: 64 bits; another key gives other views under the same recipe.
        patch_grid: strips per side, 1 to 4: before the crop the image's columns are put in a random
            order as whole strips, then its rows (RDED, arXiv 2312.03526); 1 leaves them.
        mix_batch: number of samples of one seed, in a random order, that share λ and mix box, and
            exchange partners by a permutation, as if whole batches were mixed; 0 draws all three
            for each view.

    Raises:
        ManifestError: a value out of range, or a mix that cannot be drawn.
    """

    view_height: int
    view_width: int
    rotation_degrees: float = 0.0
    crop_scale: tuple[float, float] = (1.0, 1.0)
    crop_ratio: float = 1.0
    flip_probability: float = 0.0
    mix: Mix = Mix.NONE
    mix_probability: float = 1.0
    key: int = 0
    patch_grid: int = 1
    mix_batch: int = 0

    def __post_init__(self) -> None:
        # 15 and 15.0 draw the same views: they must have one spelling, or a manifest written with
        # one is refused when it is read with the other.
        for name in ("rotation_degrees", "crop_ratio", "flip_probability", "mix_probability"):
            object.__setattr__(self, name, float(getattr(self, name)))
        low, high = (float(end) for end in self.crop_scale)
        object.__setattr__(self, "crop_scale", (low, high))
        object.__setattr__(self, "mix", Mix(self.mix))
        checks = {
            "view_height": 1 <= self.view_height <= 2**14,
            "view_width": 1 <= self.view_width <= 2**14,
            "rotation_degrees": 0 <= self.rotation_degrees <= 180,
            "crop_scale": 1e-4 <= low <= high <= 1,
            "crop_ratio": 1 <= self.crop_ratio <= 16,
            "flip_probability": 0 <= self.flip_probability <= 1,
            "mix_probability": 0 <= self.mix_probability <= 1,
            "key": 0 <= self.key < 2**64,
            "patch_grid": 1 <= self.patch_grid <= MAX_PATCH_GRID,
            # A batch of one would mix every view with itself.
            "mix_batch": self.mix_batch == 0 or 2 <= self.mix_batch <= 2**31,
        }
        for name, holds in checks.items():
            if not holds:
                raise ManifestError(
                    f"augmentation policy: {name} is {getattr(self, name)!r}, which is out of range"
                )
        if self.mix is Mix.MIXUP:
            raise ManifestError(
                "augmentation policy: mixup is for recorded views, its λ cannot be drawn from a"
                " seed; take cutmix or none"
            )

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_json` reads back; its canonical digest identifies the policy."""
        values = asdict(self) | {"crop_scale": list(self.crop_scale), "mix": str(self.mix)}
        if any(values[name] != plain for name, plain in _EXTENSION.items()):
            return {"policy": EXTENDED_NAME} | values
        old = {name: kept for name, kept in values.items() if name not in _EXTENSION}
        return {"policy": POLICY_NAME} | old

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read a policy strictly.

        Raises:
            ManifestError: another kind of policy, or a field that is missing, unknown or out of
                range: views drawn from a half-understood recipe would not be the teacher's views.
        """
        if not isinstance(value, Mapping):
            raise ManifestError("augmentation policy: must be an object")
        name = value.get("policy")
        if name not in (POLICY_NAME, EXTENDED_NAME):
            raise ManifestError(
                f"augmentation policy {name!r} is unknown;"
                f" this labelcast draws {POLICY_NAME!r} and {EXTENDED_NAME!r}"
            )
        extended = name == EXTENDED_NAME
        names = {field.name for field in fields(cls)} - (set() if extended else set(_EXTENSION))
        if set(value) != names | {"policy"}:
            odd = sorted(set(value) ^ (names | {"policy"}))
            raise ManifestError(f"augmentation policy: fields missing or unknown: {odd}")
        # Two spellings of one policy would have two digests.
        if extended and all(value[each] == plain for each, plain in _EXTENSION.items()):
            raise ManifestError(
                f"augmentation policy: without patch_grid and mix_batch it is {POLICY_NAME!r}"
            )
        try:
            return cls(
                view_height=_integer(value, "view_height"),
                view_width=_integer(value, "view_width"),
                rotation_degrees=_number(value["rotation_degrees"], "rotation_degrees"),
                crop_scale=_pair(value, "crop_scale"),
                crop_ratio=_number(value["crop_ratio"], "crop_ratio"),
                flip_probability=_number(value["flip_probability"], "flip_probability"),
                mix=Mix(value["mix"]),
                mix_probability=_number(value["mix_probability"], "mix_probability"),
                key=_integer(value, "key"),
                **{each: _integer(value, each) for each in (_EXTENSION if extended else ())},
            )
        except ValueError:
            raise ManifestError(f"augmentation policy is malformed: {dict(value)}") from None


def _pair(value: Mapping[str, Any], name: str) -> tuple[float, float]:
    if not isinstance(value[name], list) or len(value[name]) != 2:
        raise ManifestError(f"augmentation policy: {name} must be a list of two numbers")
    low, high = value[name]
    return _number(low, name), _number(high, name)


def _number(value: Any, name: str) -> float:
    # Integers above 2**1023 are no floats, and far smaller ones are out of every range.
    if type(value) is not float and not (type(value) is int and abs(value) < 2**64):
        raise ManifestError(f"augmentation policy: {name} must be a number")
    return float(value)


def _integer(value: Mapping[str, Any], name: str) -> int:
    if type(value[name]) is not int:
        raise ManifestError(f"augmentation policy: {name} must be an integer")
    return int(value[name])
