"""Recorded views ⇄ packed rows: whole bits, nothing that can be derived.

What a batch shares (λ, mix box) is stored once, in a table of mixes; a view names its row there.
Crops are whole units of 1/`crop_rows` and 1/`crop_columns`: the producer's pixels if all its images
have one size, else 1/65,535, which still finds the same pixel edge in every image of up to 32,767
pixels per side.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation.recorded.recorded_views import (
    NO_OPERATION,
    RecordedPolicy,
    RecordedViews,
)
from labelcast.errors import ManifestError

FINEST = 2**16 - 1
MIX_STRIDE = 16
_MAX_BITS = 40
_MAX_PIXELS = 4097
_OPERATION_BITS, _HALF_BITS, _PATCH_BITS, _COLOUR_BITS = 4, 16, 4, 8

Packed = NDArray[np.uint8]


@dataclass(frozen=True, eq=False, slots=True)
class MixTable:
    """What the views of a batch share.

    Attributes:
        lam: float64, shape (G,), from 0 to 1.
        box: int32, shape (G, 4): top, left, bottom, right in pixels of the view.
    """

    lam: NDArray[np.float64]
    box: NDArray[np.int32]

    def pack(self) -> Packed:
        """uint8, shape (G, MIX_STRIDE): little-endian float64, then four uint16."""
        lam = np.ascontiguousarray(self.lam.astype("<f8")).view(np.uint8).reshape(-1, 8)
        box = np.ascontiguousarray(self.box.astype("<u2")).view(np.uint8).reshape(-1, 8)
        return np.concatenate([lam, box], axis=1)

    @classmethod
    def unpack(cls, packed: Packed, policy: RecordedPolicy) -> Self:
        """The inverse of `pack`.

        Raises:
            ManifestError: λ outside [0, 1], or a box outside the view.
        """
        rows = np.ascontiguousarray(packed)
        lam = rows[:, :8].copy().view("<f8")[:, 0].astype(np.float64)
        box = rows[:, 8:].copy().view("<u2").astype(np.int32)
        # Written so that NaN fails.
        inside = (lam >= 0) & (lam <= 1) & (box[:, :2] <= box[:, 2:]).all(axis=1)
        inside &= (box[:, 2] <= policy.view_height) & (box[:, 3] <= policy.view_width)
        if not inside.all():
            raise ManifestError(
                f"row {int(np.argmin(inside))} of the section mixes is no mix of a view of"
                f" {policy.view_height} × {policy.view_width} pixels"
            )
        return cls(lam, box)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLayout:
    """How many bits each field of a packed record takes.

    Attributes:
        crop_rows: units that the height of an image is cut into.
        crop_columns: units that the width of an image is cut into.
        partner_bits: bits of the partner's position in the segment's sample table; 0 if none is
            mixed.
        mix_bits: bits of the row in the table of mixes; 0 if none is mixed.
    """

    crop_rows: int
    crop_columns: int
    partner_bits: int
    mix_bits: int

    def __post_init__(self) -> None:
        bounds = {
            "crop_rows": (1, FINEST),
            "crop_columns": (1, FINEST),
            "partner_bits": (0, _MAX_BITS),
            "mix_bits": (0, _MAX_BITS),
        }
        for name, (low, high) in bounds.items():
            if type(getattr(self, name)) is not int or not low <= getattr(self, name) <= high:
                raise ManifestError(f"augmentation.layout.{name} must be from {low} to {high}")

    @classmethod
    def for_records(cls, crop: NDArray[np.float64], *, num_samples: int, num_mixes: int) -> Self:
        """Choose the narrowest layout that keeps the recorded values.

        Args:
            crop: float64, shape (N, 4).
            num_samples: S of the segment.
            num_mixes: rows of the table of mixes; 0 if none is mixed.
        """
        return cls(
            crop_rows=_units(crop[:, [0, 2]]),
            crop_columns=_units(crop[:, [1, 3]]),
            partner_bits=max(num_samples - 1, 1).bit_length() if num_mixes else 0,
            mix_bits=max(num_mixes - 1, 1).bit_length() if num_mixes else 0,
        )

    def as_json(self) -> dict[str, Any]:
        """JSON value that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read strictly.

        Raises:
            ManifestError: fields missing, unknown or out of bounds.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(value, Mapping) or set(value) != names:
            raise ManifestError(f"augmentation.layout must have the fields {sorted(names)}")
        return cls(**value)

    def widths(self, policy: RecordedPolicy) -> list[int]:
        """Bits of every field of a row, in order."""
        rows, columns = self.crop_rows.bit_length(), self.crop_columns.bit_length()
        fixed = [rows, columns, rows, columns, 1, self.partner_bits, self.mix_bits]
        operations = [_OPERATION_BITS, _HALF_BITS] * policy.operations
        patches = [_PATCH_BITS] * (policy.patch_grid**2 if policy.patch_grid > 1 else 0)
        cutout = [_HALF_BITS] * 4 + [_COLOUR_BITS] * 3 if policy.cutout else []
        return [*fixed, *operations, *patches, *cutout]

    def stride(self, policy: RecordedPolicy) -> int:
        """Bytes of a packed record."""
        return -(-sum(self.widths(policy)) // 8)

    def pack(
        self,
        policy: RecordedPolicy,
        views: RecordedViews,
        partners: NDArray[np.int64],
        mixes: NDArray[np.int64],
    ) -> Packed:
        """Pack records.

        Args:
            policy: policy of the label set.
            views: N records.
            partners: int64, shape (N,): positions of the partners in the sample table.
            mixes: int64, shape (N,): rows in the table of mixes.

        Returns:
            uint8, shape (N, stride).

        Raises:
            ManifestError: a value that its field cannot hold.
        """
        size = np.array([self.crop_rows, self.crop_columns] * 2)
        edges = np.rint(views.crop * size).astype(np.int64)
        # Start and size are rounded apart, and half precision may have put their sum past the end.
        edges[:, 2:] = np.minimum(edges[:, 2:], size[2:] - edges[:, :2])
        magnitudes = views.magnitudes.astype("<f2").view("<u2").astype(np.int64)
        columns = [*edges.T, views.flip, partners, mixes]
        for layer in range(policy.operations):
            columns += [views.operations[:, layer], magnitudes[:, layer]]
        columns += [*views.patches.T] if policy.patch_grid > 1 else []
        if policy.cutout:
            columns += [*np.rint(views.cutout[:, :4] * FINEST).T, *np.rint(views.cutout[:, 4:]).T]
        return _pack_bits([column.astype(np.int64) for column in columns], self.widths(policy))

    def unpack(
        self,
        policy: RecordedPolicy,
        packed: Packed,
        *,
        sample_ids: NDArray[np.uint64],
        seeds: NDArray[np.uint32],
        sample_table: NDArray[np.uint64],
        mixes: MixTable | None,
    ) -> RecordedViews:
        """Unpack records.

        Args:
            policy: policy of the label set.
            packed: uint8, shape (N, stride).
            sample_ids: uint64, shape (N,): sample ID of each record.
            seeds: uint32, shape (N,): seed of each record.
            sample_table: sample table of the segment.
            mixes: table of mixes of the segment; None if no view is mixed.

        Raises:
            ManifestError: a field out of range, or bits after the last field.
        """
        columns = _unpack_bits(packed, self.widths(policy))
        views = RecordedViews.plain(sample_ids, seeds, policy)
        size = np.array([self.crop_rows, self.crop_columns] * 2)
        edges = np.stack(columns[:4], axis=1)
        partner, mix = columns[5], columns[6]
        ends = edges[:, :2] + edges[:, 2:]
        _require(((edges[:, 2:] > 0) & (ends <= size[:2])).all(axis=1), "a crop")
        views.crop[:] = edges / size
        views.flip[:] = columns[4].astype(np.bool_)
        if mixes is not None:
            _require(partner < len(sample_table), "a partner")
            _require(mix < len(mixes.lam), "a mix")
            views.partner_sample_ids[:] = sample_table[partner]
            views.lam[:], views.box[:] = mixes.lam[mix], mixes.box[mix]
        at = 7
        for layer in range(policy.operations):
            _require(columns[at] <= NO_OPERATION, "an operation")
            views.operations[:, layer] = columns[at]
            views.magnitudes[:, layer] = columns[at + 1].astype("<u2").view("<f2")
            at += 2
        _require(np.isfinite(views.magnitudes).all(axis=1), "a magnitude")
        if policy.patch_grid > 1:
            patches = np.stack(columns[at : at + policy.patch_grid**2], axis=1)
            whole = np.arange(policy.patch_grid**2)
            _require((np.sort(patches, axis=1) == whole).all(axis=1), "a patch order")
            views.patches[:] = patches
            at += policy.patch_grid**2
        if policy.cutout:
            views.cutout[:] = np.stack(columns[at : at + 7], axis=1)
            views.cutout[:, :4] /= FINEST
        return views


def _units(fractions: NDArray[np.float64]) -> int:
    """The coarsest grid that holds every fraction, as exactly as its precision could say."""
    half = fractions.astype(np.float16)
    stored = np.float16 if (half == fractions).all() else np.float32
    # A few rows rule out nearly every grid; the rest is tried on all.
    few = fractions[:: max(1, len(fractions) // 64)]
    for units in range(1, _MAX_PIXELS):
        if _lies_on(few, units, stored) and _lies_on(fractions, units, stored):
            return units
    return FINEST


def _lies_on(fractions: NDArray[np.float64], units: int, stored: type[np.floating[Any]]) -> bool:
    on_grid = np.rint(fractions * units) / units
    return bool((on_grid.astype(stored) == fractions.astype(stored)).all())


def _require(holds: Any, what: str) -> None:
    if not np.all(holds):
        raise ManifestError(f"the augmentation of a view is malformed: {what} is out of range")


def _pack_bits(columns: list[NDArray[np.int64]], widths: list[int]) -> Packed:
    bits = []
    for column, width in zip(columns, widths, strict=True):
        if len(column) and not (column.min() >= 0 and int(column.max()) < 2**width):
            if width:
                raise ManifestError(f"a recorded value does not fit {width} bits")
            continue
        bits.append((column[:, None] >> np.arange(width) & 1).astype(np.uint8))
    return np.packbits(np.concatenate(bits, axis=1), axis=1, bitorder="little")


def _unpack_bits(packed: Packed, widths: list[int]) -> list[NDArray[np.int64]]:
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    total = sum(widths)
    if packed.shape[1] != -(-total // 8) or bits[:, total:].any():
        raise ManifestError("augmentation rows have another width, or bits after their last field")
    columns, at = [], 0
    for width in widths:
        weights = np.int64(1) << np.arange(width, dtype=np.int64)
        columns.append(bits[:, at : at + width].astype(np.int64) @ weights)
        at += width
    return columns
