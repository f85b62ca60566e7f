"""Recorded views: what another producer drew, kept because no seed can draw it again.

The order of operations is that of SRe2L (arXiv 2306.13092) and its successors: RandAugment on the
source image, patch shuffle, crop and resize, flip, cutout, and last the mix with the *unmixed* view
of the partner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation.seeded.policy import Mix
from labelcast.errors import ManifestError

RECORDED_NAME = "recorded/1"
MAX_LAYERS = 8
# timm's list, in its order, is what the producers of the field draw from.
OPERATIONS = (
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
)
NO_OPERATION = len(OPERATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPolicy:
    """What the records of a label set hold.

    Attributes:
        view_height: pixels of every view.
        view_width: pixels of every view.
        mix: none, CutMix (a box shows the partner) or MixUp (λ of the view, 1 − λ of the partner).
        operations: layers of RandAugment that were applied to the source image; 0 for none.
        patch_grid: patches per side that were shuffled before the crop; 1 for none.
        cutout: whether a filled rectangle covers part of the view.
    """

    view_height: int
    view_width: int
    mix: Mix = Mix.NONE
    operations: int = 0
    patch_grid: int = 1
    cutout: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "mix", Mix(self.mix))
        checks = {
            "view_height": 1 <= self.view_height < 2**16,
            "view_width": 1 <= self.view_width < 2**16,
            "operations": 0 <= self.operations <= MAX_LAYERS,
            "patch_grid": 1 <= self.patch_grid <= 4,
        }
        for name, holds in checks.items():
            if not holds:
                raise ManifestError(
                    f"augmentation policy: {name} is {getattr(self, name)!r}, which is out of range"
                )

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_json` reads back; its canonical digest identifies the policy."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"policy": RECORDED_NAME} | values | {"mix": str(self.mix)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read strictly.

        Raises:
            ManifestError: a field that is missing, unknown, of another type or out of range.
        """
        kinds = {"mix": str, "cutout": bool}
        names = {field.name for field in fields(cls)}
        if set(value) != names | {"policy"}:
            odd = sorted(set(value) ^ (names | {"policy"}))
            raise ManifestError(f"augmentation policy: fields missing or unknown: {odd}")
        for name in sorted(names):
            if type(value[name]) is not kinds.get(name, int):
                raise ManifestError(f"augmentation policy: {name} is of another type")
        if value["mix"] not in set(Mix):
            raise ManifestError(f"augmentation policy: mix {value['mix']!r} is unknown")
        return cls(**{name: value[name] for name in names})


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class RecordedViews:
    """Recorded parameters of N views, as columns.

    Attributes:
        crop: float64, shape (N, 4): top, left, height, width as fractions of the source image.
        flip: bool, shape (N,): horizontal flip, after the crop.
        partner_sample_ids: uint64, shape (N,): the partner is the unmixed view of this sample under
            the partner seed; a view that is not mixed is its own partner.
        partner_seeds: uint32, shape (N,).
        lam: float64, shape (N,): λ as it was drawn, before any box was clipped; 1 if not mixed.
        box: int32, shape (N, 4): top, left, bottom, right, pixels of the view that show the
            partner; empty where there is no CutMix.
        patches: uint8, shape (N, grid²): patch i of the shuffled image, row by row, is patch
            `patches[:, i]` of the source.
        operations: uint8, shape (N, layers): indices into OPERATIONS, or NO_OPERATION.
        magnitudes: float32, shape (N, layers): the operation's own argument; 0 if it takes none.
        cutout: float32, shape (N, 7): centre y and x, height and width as fractions of the view,
            then red, green and blue from 0 to 255; or shape (N, 0).
    """

    crop: NDArray[np.float64]
    flip: NDArray[np.bool_]
    partner_sample_ids: NDArray[np.uint64]
    partner_seeds: NDArray[np.uint32]
    lam: NDArray[np.float64]
    box: NDArray[np.int32]
    patches: NDArray[np.uint8]
    operations: NDArray[np.uint8]
    magnitudes: NDArray[np.float32]
    cutout: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.flip)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> "RecordedViews":
        return RecordedViews(
            **{field.name: getattr(self, field.name)[rows] for field in fields(self)}
        )

    def place(self, rows: NDArray[np.intp], records: "RecordedViews") -> None:
        """Overwrite some rows with records of the same policy."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(records, field.name)

    @classmethod
    def plain(
        cls, sample_ids: NDArray[np.uint64], seeds: NDArray[np.uint32], policy: RecordedPolicy
    ) -> Self:
        """Whole images, neither flipped nor mixed nor otherwise changed: what importers fill in."""
        count = len(sample_ids)
        return cls(
            crop=np.tile([0.0, 0.0, 1.0, 1.0], (count, 1)),
            flip=np.zeros(count, dtype=np.bool_),
            partner_sample_ids=sample_ids.copy(),
            partner_seeds=seeds.copy(),
            lam=np.ones(count),
            box=np.zeros((count, 4), dtype=np.int32),
            patches=np.tile(np.arange(policy.patch_grid**2, dtype=np.uint8), (count, 1)),
            operations=np.full((count, policy.operations), NO_OPERATION, dtype=np.uint8),
            magnitudes=np.zeros((count, policy.operations), dtype=np.float32),
            cutout=np.zeros((count, 7 if policy.cutout else 0), dtype=np.float32),
        )

    def partner_share(self, policy: RecordedPolicy) -> NDArray[np.float32]:
        """The partner's share of each view: from the clipped box, or 1 − λ of MixUp; shape (N,)."""
        if policy.mix is Mix.MIXUP:
            return (1 - self.lam).astype(np.float32)
        pixels = (self.box[:, 2] - self.box[:, 0]) * (self.box[:, 3] - self.box[:, 1])
        return (pixels / (policy.view_height * policy.view_width)).astype(np.float32)
