"""One batch as scanning keeps it: everything but the labels, checked, in narrow types."""

import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from labelcast.augmentation import NO_OPERATION, OPERATIONS, Mix
from labelcast.errors import LabelFileError
from labelcast_producers.formats.batches.layout import StoredFile
from labelcast_producers.formats.batches.record import Layer, Record, Scalar
from labelcast_producers.formats.shared.meaning import exact_below, require_exact_ids
from labelcast_producers.torchfile import LazyTensor

# Top and height were each rounded: to half precision at worst.
_ROUNDING = {"float16": 2.0**-9, "float32": 1e-5, "float64": 1e-5}
# Patches where they were.
NOT_SHUFFLED = np.arange(4, dtype=np.uint8)
# RandAugment's mark of an operation that takes no parameter, and what applies one.
_NO_PARAMETER = -99
_APPLIED_BELOW = 0.5
_WITHOUT_PARAMETER = tuple(
    OPERATIONS.index(name) for name in ("AutoContrast", "Equalize", "Invert")
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch is stored.

    Attributes:
        file: file that holds it.
        epoch: number of the epoch as the producer counts; None in flat layouts.
        number: number of the batch in its epoch, or among all batches.
        at: text after the path in messages; "" if the file is the batch.
    """

    file: StoredFile
    epoch: int | None
    number: int
    at: str = ""

    def __str__(self) -> str:
        return f"{self.file.path}{self.at}"

    def refuse(self, what: str) -> NoReturn:
        """Raise an error that names the place and what is wrong there.

        Raises:
            LabelFileError: always.
        """
        raise LabelFileError(f"{self}: {what}", path=self.file.path)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Batch:
    """The augmentation of a batch of B views.

    Attributes:
        place: place where it is stored.
        size: number of views, B.
        coords: top, left, height and width, shape (B, 4): float16 or float32 as stored, as
            fractions of the source image. EDC's are fractions of the image's other side until
            `EDCImporter` has looked at the image, and float64 from then on.
        flip: bool, shape (B,); None if the producer has none.
        cutout: float32, shape (B, 7); or None.
        operations: uint8, shape (B, layers).
        magnitudes: float32, shape (B, layers).
        mix: kind of mix of the batch.
        mix_index: int32, shape (B,); None if the batch is not mixed.
        lam: λ; 1 if the batch is not mixed.
        box: top, left, bottom, right.
        indices_end: highest class index of top-k labels plus 1; 0 if labels are dense.
        sample_ids: int64, shape (B,); None if they are not in the record.
        patches: uint8, shape (B, 4): the source patch at each place; or None.
    """

    place: Place
    size: int
    coords: NDArray[Any]
    flip: NDArray[np.bool_] | None
    cutout: NDArray[np.float32] | None
    operations: NDArray[np.uint8]
    magnitudes: NDArray[np.float32]
    mix: Mix
    mix_index: NDArray[np.int32] | None
    lam: float
    box: tuple[int, int, int, int]
    sample_ids: NDArray[np.int64] | None
    patches: NDArray[np.uint8] | None


def read_batch(record: Record, place: Place, view_size: int) -> Batch:
    """Read and check everything but the labels.

    Args:
        record: record in an open file.
        place: place of the record.
        view_size: pixels per side of the producer's views.

    Raises:
        LabelFileError: something is wrong; names file and position.
    """
    operations, magnitudes = _rand_augment(record.layers, place, record.size)
    # Only EDC stores patches, and only EDC divides by the other side of the image.
    coords = _coords(record.coords, place) if record.patches is None else record.coords.read()
    return Batch(
        place=place,
        size=record.size,
        coords=coords,
        flip=None if record.flip is None else record.flip.read().copy(),
        cutout=None if record.cutout is None else _cutout(record.cutout, place),
        operations=operations,
        magnitudes=magnitudes,
        mix=_mix(record),
        mix_index=None if record.mix_index is None else _mix_index(record.mix_index, place),
        lam=1.0 if record.lam is None else _lam(record.lam, place),
        box=(0, 0, 0, 0) if record.box is None else _box(record.box, place, view_size),
        sample_ids=None if record.sample_ids is None else _sample_ids(record.sample_ids, place),
        patches=None if record.patches is None else _patches(record.patches, place),
    )


def check_indices(indices: LazyTensor, place: Place, num_classes: int) -> None:
    """Refuse class indices of top-k labels that are out of range, or twice in a row.

    Raises:
        LabelFileError: an index is refused; names file, position and row.
    """
    values = indices.read()
    require_exact_ids(values, num_classes, lambda _: f"{place}: indices", limit=exact_below(values))
    wrong = (values < 0) | (values >= num_classes)
    if wrong.any():
        row, column = (int(at[0]) for at in np.nonzero(wrong))
        place.refuse(
            f"indices, row {row}: class {values[row, column]} is outside the {num_classes} classes;"
            " give the classes that the teacher has, or fetch the file again"
        )
    in_order = np.sort(values, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]).any(axis=1)
    if twice.any():
        place.refuse(f"indices, row {np.argmax(twice)}: one class twice; fetch the file again")


def scalar(value: Scalar) -> int | float:
    """Convert a number, however it was pickled."""
    number = value.read() if isinstance(value, LazyTensor) else value
    return number if isinstance(number, int | float) else number.item()


def _mix(record: Record) -> Mix:
    if record.mix_index is None:
        return Mix.NONE
    return Mix.MIXUP if record.box is None else Mix.CUTMIX


def outside_image(coords: NDArray[Any]) -> int | None:
    """The first crop that does not lie within its image.

    Args:
        coords: top, left, height and width as fractions of the image, shape (n, 4).

    Returns:
        Its row, or None where all do.
    """
    exact = coords.astype(np.float64)
    ends = exact[:, :2] + exact[:, 2:]
    # Written so that NaN fails.
    good = (exact >= 0).all(axis=1) & (exact[:, 2:] > 0).all(axis=1)
    good &= (ends <= 1 + _ROUNDING[coords.dtype.name]).all(axis=1)
    return None if good.all() else int(np.argmin(good))


def _coords(tensor: LazyTensor, place: Place) -> NDArray[Any]:
    coords = tensor.read().copy()
    row = outside_image(coords)
    if row is not None:
        place.refuse(
            f"coords, row {row}: {coords[row].tolist()} is no top, left, height and width within"
            " the image, as fractions of it; fetch the file again, or label that batch again"
        )
    return coords


def _cutout(tensor: LazyTensor, place: Place) -> NDArray[np.float32]:
    cutout = tensor.read().astype(np.float32)
    highest = np.array([1, 1, 1, 1, 255, 255, 255])
    good = ((cutout >= 0) & (cutout <= highest)).all(axis=1)
    if not good.all():
        place.refuse(
            f"cutout, row {np.argmin(good)}: centre, height and width are fractions from 0 to 1 and"
            " colours go from 0 to 255; label that batch again"
        )
    return cutout


def _mix_index(tensor: LazyTensor, place: Place) -> NDArray[np.int32]:
    values = tensor.read()
    narrow = values.dtype.itemsize == 1
    limit = np.iinfo(values.dtype).max + 1
    if narrow and len(values) > limit:
        place.refuse(
            f"mix_index: {values.dtype} overflow: it numbers {limit} views and the batch has"
            f" {len(values)}, so partners cannot be recovered; label again with smaller batches"
        )
    if not np.array_equal(np.sort(values), np.arange(len(values))):
        why = (
            f"; if the producer's batches were larger, that is {values.dtype} overflow, and"
            " partners cannot be recovered"
            if narrow
            else ""
        )
        place.refuse(
            f"mix_index is no permutation of the batch's {len(values)} views{why}; fetch the file"
            " again, or label that batch again"
        )
    return values.astype(np.int32)


def _lam(value: Scalar, place: Place) -> float:
    lam = float(scalar(value))
    if not (math.isfinite(lam) and 0 <= lam <= 1):
        place.refuse(f"mix_lam is {lam}, which is no share from 0 to 1; label that batch again")
    return lam


def _box(values: tuple[Scalar, ...], place: Place, view_size: int) -> tuple[int, int, int, int]:
    narrow = any(isinstance(value, LazyTensor | np.uint8) and _is_byte(value) for value in values)
    if narrow and view_size > np.iinfo(np.uint8).max:
        place.refuse(
            f"mix_bbox: uint8 overflow: edges of views of {view_size} pixels do not fit and cannot"
            " be recovered; check --view-size, or label again"
        )
    top, left, bottom, right = (int(scalar(value)) for value in values)
    if top > bottom or left > right:
        why = "uint8 overflow, and cannot be recovered" if narrow else "no box"
        place.refuse(
            f"mix_bbox is rows {top} to {bottom} and columns {left} to {right}, which is {why};"
            " label that batch again"
        )
    if min(top, left) < 0 or max(bottom, right) > view_size:
        place.refuse(
            f"mix_bbox is rows {top} to {bottom} and columns {left} to {right}, beyond views of"
            f" {view_size} pixels; give the producer's view size with --view-size"
        )
    return top, left, bottom, right


def _is_byte(value: LazyTensor | np.generic) -> bool:
    return bool(value.dtype == np.uint8)


def _sample_ids(tensor: LazyTensor, place: Place) -> NDArray[np.int64]:
    sample_ids = tensor.read().astype(np.int64)
    if (sample_ids < 0).any():
        row = int(np.argmax(sample_ids < 0))
        place.refuse(f"sample IDs, row {row}: {sample_ids[row]} is negative; fetch the file again")
    return sample_ids


def _patches(tensor: LazyTensor, place: Place) -> NDArray[np.uint8]:
    """The source patch at each place of the shuffled image, row by row.

    Three forms are stored, and no value fits two: zeros if nothing was shuffled; the numbers of the
    four patches; or, as patches are shuffled column by column and then row by row, the order of the
    columns and the order of the rows.
    """
    values = tensor.read().astype(np.int64)
    numbers = values.reshape(-1, 4)
    if not values.any():
        return np.tile(NOT_SHUFFLED, (len(values), 1))
    if (np.sort(numbers, axis=1) == np.arange(4)).all():
        return numbers.astype(np.uint8)
    if (np.sort(values, axis=2) == np.arange(2)).all():
        columns, rows = values[:, 0], values[:, 1]
        return (2 * rows[:, :, None] + columns[:, None, :]).reshape(-1, 4).astype(np.uint8)
    return place.refuse(
        "patches are neither zeros, nor permutations of 0 to 3, nor orders of two columns and two"
        " rows, all in one form; label that batch again"
    )


def _rand_augment(
    layers: tuple[Layer, ...], place: Place, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Find the applied operations and their arguments: shape (B, layers) each."""
    operations = np.full((size, len(layers)), NO_OPERATION, dtype=np.uint8)
    magnitudes = np.zeros((size, len(layers)), dtype=np.float32)
    for number, (operation, decision, parameter) in enumerate(layers):
        where = f"RandAugment layer {number}"
        drawn, chance = operation.read().astype(np.int64), decision.read().astype(np.float64)
        argument = parameter.read().astype(np.float64)
        wrong = (drawn < 0) | (drawn >= len(OPERATIONS))
        wrong |= ~np.isfinite(argument) | ~((chance >= 0) & (chance <= 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            place.refuse(
                f"{where}, row {row}: operation {drawn[row]}, decision {chance[row]:g} and"
                f" parameter {argument[row]:g} are none of timm's {len(OPERATIONS)} operations;"
                " label that batch again"
            )
        applied = chance < _APPLIED_BELOW
        takes_one = applied & ~np.isin(drawn, _WITHOUT_PARAMETER)
        lacking = takes_one & (argument == _NO_PARAMETER)
        if lacking.any():
            row = int(np.argmax(lacking))
            place.refuse(
                f"{where}, row {row}: {OPERATIONS[drawn[row]]} without its parameter; label that"
                " batch again"
            )
        operations[applied, number] = drawn[applied]
        magnitudes[takes_one, number] = argument[takes_one]
    return operations, magnitudes
