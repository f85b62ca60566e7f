"""One record of a batch, recognised by types and shapes: never by length, or by place alone.

All producers store the same things in the same order, and differ in what they leave out or add:

    coords [B, 4]            float32, or float16 where quantised
    flip [B] bool            or cutout [B, 7] float
    layers of RandAugment    [operation, decision, parameter] of shape [B] each; or absent
    mix_index [B] integer    or None
    λ                        or None
    box, four integers       or None
    labels [B, C]            or the top-k values and their class indices, [B, k] each
    sample IDs [B] int64     or absent
    patches [B, 2, 2]        or absent
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

from labelcast.augmentation.recorded.recorded_views import MAX_LAYERS
from labelcast_producers.torchfile import LazyTensor

EXPECTED = (
    "a list of coords float [B, 4], flip bool [B] (or cutout float [B, 7]), mix_index int [B], λ,"
    " box of 4 integers, labels float [B, C] (or values and indices [B, k]), in that order"
)
# What makes tensors of these types.
_CASTS = {"float16": "half", "float32": "float"}
# Number of items that `detect` and messages describe.
_DESCRIBED = 10

Layer = tuple[LazyTensor, LazyTensor, LazyTensor]
Scalar = int | float | np.generic | LazyTensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The parts of a record; tensors are not read.

    Attributes:
        coords: float, shape (B, 4).
        flip: bool, shape (B,); None where there is a cutout instead.
        cutout: float, shape (B, 7); or None.
        layers: layers of RandAugment: operation, decision and parameter, each of shape (B,).
        mix_index: integers, shape (B,); None if the batch is not mixed.
        lam: a number; None if the batch is not mixed.
        box: four integers; None for MixUp, or if the batch is not mixed.
        labels: float, shape (B, C), or the top-k values, shape (B, k).
        indices: class of each top-k value, integers, shape (B, k); None if labels are dense.
        sample_ids: int64, shape (B,); or None.
        patches: integers, shape (B, 2, 2); or None.
    """

    coords: LazyTensor
    flip: LazyTensor | None
    cutout: LazyTensor | None
    layers: tuple[Layer, ...]
    mix_index: LazyTensor | None
    lam: Scalar | None
    box: tuple[Scalar, ...] | None
    labels: LazyTensor
    indices: LazyTensor | None
    sample_ids: LazyTensor | None
    patches: LazyTensor | None

    @property
    def size(self) -> int:
        """Views in the batch, B."""
        return self.coords.shape[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What all records of a set have in common.

    Attributes:
        coords: type of the coordinates.
        cutout: whether there is a cutout instead of flips.
        layers: number of RandAugment layers.
        label_type: type of the labels.
        label_columns: C, or k of top-k labels.
        top_k: whether labels are top-k.
        sample_ids: whether records name their samples.
        patches: whether records hold a patch permutation.
    """

    coords: str
    cutout: bool
    layers: int
    label_type: str
    label_columns: int
    top_k: bool
    sample_ids: bool
    patches: bool

    @classmethod
    def of(cls, record: Record) -> "Signature":
        """The signature of one record."""
        return cls(
            coords=record.coords.dtype.name,
            cutout=record.cutout is not None,
            layers=len(record.layers),
            label_type=record.labels.dtype.name,
            label_columns=record.labels.shape[1],
            top_k=record.indices is not None,
            sample_ids=record.sample_ids is not None,
            patches=record.patches is not None,
        )

    @property
    def is_plain(self) -> bool:
        """Whether records are SRe2L's six items, except for what replaces the flip."""
        return not (self.layers or self.top_k or self.sample_ids or self.patches)


def as_record(value: object) -> Record | None:
    """Recognise a record.

    Args:
        value: tree of an open file, or an item of it.

    Returns:
        None if it is no record.
    """
    if type(value) is not list or len(value) < 2:
        return None
    coords, second, *rest = value
    if not (_is(coords, "f") and len(coords.shape) == 2 and coords.shape[1] == 4):
        return None
    size = coords.shape[0]
    flip = second if _is(second, "b", (size,)) else None
    cutout = second if _is(second, "f", (size, 7)) else None
    if size == 0 or (flip is None and cutout is None):
        return None
    layers: tuple[Layer, ...] = ()
    if rest and isinstance(rest[0], list | tuple):
        found = _layers(rest.pop(0), size)
        if found is None:
            return None
        layers = found
    if len(rest) < 4:
        return None
    mix_index, lam, box, *labelled = rest
    if not _is_mix(mix_index, lam, box, size):
        return None
    answer = _labelled(labelled, size)
    if answer is None:
        return None
    labels, indices, sample_ids, patches = answer
    return Record(
        coords=coords,
        flip=flip,
        cutout=cutout,
        layers=layers,
        mix_index=mix_index,
        lam=lam,
        box=None if box is None else tuple(box),
        labels=labels,
        indices=indices,
        sample_ids=sample_ids,
        patches=patches,
    )


def describe(value: object) -> str:
    """Describe a value on one line of bounded length."""
    if isinstance(value, LazyTensor):
        return f"{value.dtype.name} {list(value.shape)}"
    if not isinstance(value, list | tuple):
        return "None" if value is None else type(value).__name__
    items = [
        f"{type(item).__name__} of {len(item)}"
        if isinstance(item, list | tuple)
        else describe(item)
        for item in value[:_DESCRIBED]
    ]
    more = ", …" if len(value) > _DESCRIBED else ""
    return f"{type(value).__name__} of {len(value)} ({', '.join(items)}{more})"


def how_to_mend(value: object, like: Signature | None = None) -> str:
    """What to do about a value that should be a record, for messages.

    Args:
        value: it, or a tuple of records that should be a list.
        like: of a record beside it, whose types it should have; None where all are like this one.

    Returns:
        How to save it again if little keeps it from being one, else that it is needed again.
    """
    items = value if isinstance(value, list | tuple) else ()
    parts = [
        part for item in items for part in (item if isinstance(item, list | tuple) else [item])
    ]
    first = items[0] if items else None
    near = _is_array(first) and first.shape[1:] == (4,)
    cures = []
    if isinstance(value, tuple) and (near or isinstance(first, list | tuple)):
        cures.append("tuples as lists")
    if near and any(isinstance(part, np.ndarray) for part in parts):
        cures.append("numpy arrays as tensors (torch.from_numpy)")
    if near:
        cures += _narrower(items, like)
    return f"save it again, {', '.join(cures)}" if cures else "fetch or write it again"


def _narrower(items: Sequence[Any], like: Signature | None) -> list[str]:
    wanted = {"labels": "float32"}
    if like is not None:
        wanted = {"coords": like.coords, "labels": like.label_type}
    double = {"coords": _is_double(items[0]), "labels": any(map(_is_double, items[1:]))}
    return [
        f"float64 {what} as {name} (tensor.{_CASTS[name]}())"
        for what, name in wanted.items()
        if double[what] and name in _CASTS
    ]


def _is_array(value: object) -> TypeGuard[LazyTensor | np.ndarray[Any, Any]]:
    return isinstance(value, LazyTensor | np.ndarray)


def _is_double(value: object) -> bool:
    return _is_array(value) and value.dtype == np.float64


def _labelled(
    values: Sequence[Any], size: int
) -> tuple[LazyTensor, LazyTensor | None, LazyTensor | None, LazyTensor | None] | None:
    labels, *rest = values
    if not (_is_labels(labels) and labels.shape[0] == size):
        return None
    # Of the same length: top-k labels and G-VBSM's, EDC's and LPQLD's with RandAugment.
    match rest:
        case []:
            return labels, None, None, None
        case [indices] if _is(indices, "iu", labels.shape):
            return labels, indices, None, None
        case [ids] if _is(ids, "i", (size,)):
            return labels, None, ids, None
        case [ids, patches] if _is(ids, "i", (size,)) and _is(patches, "iu", (size, 2, 2)):
            return labels, None, ids, patches
    return None


def _layers(value: Sequence[Any], size: int) -> tuple[Layer, ...] | None:
    """Layers of RandAugment, as torch's collate function makes them from triplets of each image."""
    if not 1 <= len(value) <= MAX_LAYERS:
        return None
    for layer in value:
        if not isinstance(layer, list | tuple) or len(layer) != 3:
            return None
        operation, decision, parameter = layer
        if not (
            _is(operation, "iu", (size,))
            and _is(decision, "f", (size,))
            and _is(parameter, "fiu", (size,))
        ):
            return None
    return tuple((layer[0], layer[1], layer[2]) for layer in value)


def _is_mix(mix_index: object, lam: object, box: object, size: int) -> bool:
    if mix_index is None:
        return lam is None and box is None
    if not _is(mix_index, "iu", (size,)) or not _is_scalar(lam, "fiu"):
        return False
    if box is None:
        return True
    return (
        isinstance(box, list | tuple)
        and len(box) == 4
        and all(_is_scalar(edge, "iu") for edge in box)
    )


def _is_labels(value: object) -> bool:
    return (
        isinstance(value, LazyTensor)
        and value.dtype.name in {"float16", "float32"}
        and len(value.shape) == 2
        and value.shape[1] > 0
    )


def _is(value: object, kinds: str, shape: tuple[int, ...] | None = None) -> bool:
    return (
        isinstance(value, LazyTensor)
        and value.dtype.kind in kinds
        and (shape is None or value.shape == shape)
    )


def _is_scalar(value: object, kinds: str) -> bool:
    if isinstance(value, LazyTensor):
        return value.dtype.kind in kinds and value.shape == ()
    if isinstance(value, np.generic):
        return value.dtype.kind in kinds
    return type(value) is int or (type(value) is float and "f" in kinds)
